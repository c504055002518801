/* SPDX-License-Identifier: MIT */
/*
 * pg_queries.c: asks a PostgreSQL server several questions at once by libpq, each on a connection
 * of its own, and listens for what others notify; one loop watches all of it.
 *
 *     pg_queries 'host=db.example dbname=shop' 'SELECT count(*) FROM orders' 'SELECT now()'
 *     pg_queries --listen orders --notices 10 'host=db.example dbname=shop'
 *
 * The hard idea: whose socket it is changes while a connection is made. PQconnectPoll may close the
 * one that it has, to try the next address or to try without TLS, and the new one may get the same
 * number. So nothing is watched across a call of it: what it waits for is added after each call,
 * with the socket that it has then, and removed before the next.
 *
 * Afterwards the socket stays. It is readable while the server has something to say, and watched
 * for room to write as long as PQflush says that a question is not sent as a whole.
 *
 * It prints each row as "NUMBER: FIELD|FIELD", by the question's number on the command line, and
 * each notification as "CHANNEL: TEXT". Built where libpq is found (Debian: libpq-dev).
 */
#include <portico.h>

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE                                                                                      \
    "usage: pg_queries [--listen CHANNEL [--notices N]] CONNINFO [QUERY]...\n"                     \
    "  --listen CHANNEL  prints what is notified there\n"                                          \
    "  --notices N       so many of them (1)\n"                                                    \
    "exit code: 0, all was answered; 1, not all; 2, a mistake on the command line\n"

enum { FINE = 0, FAILED = 1, USAGE_ERROR = 2 };

/* A connection with its question. */
typedef struct asker {
    PGconn *connection;
    pco_socket sock; /* PCO_NO_SOCKET: none is watched */
    int number;      /* 0: the one that listens */
    const char *query;
    char listen[128]; /* its query, if it listens */
} asker;

static pco_loop *loop;
static unsigned left;
static unsigned long notices = 1;
static bool failed;

/* ---- Watching ---- */

static void unwatch(asker *self)
{
    if (self->sock != PCO_NO_SOCKET) {
        pco_loop_remove_reader(loop, self->sock);
        pco_loop_remove_writer(loop, self->sock);
        self->sock = PCO_NO_SOCKET;
    }
}

static void end(asker *self)
{
    unwatch(self);
    PQfinish(self->connection);
    self->connection = NULL;
    if (--left == 0) {
        pco_loop_stop(loop);
    }
}

static void give_up(asker *self, const char *why)
{
    fprintf(stderr, "pg_queries: %d: %s\n", self->number, why);
    failed = true;
    end(self);
}

static bool watch(asker *self, pco_callback readable, pco_callback writable)
{
    pco_error error;
    int code = 0;
    self->sock = PQsocket(self->connection);
    if (readable != NULL) {
        code = pco_loop_add_reader(loop, self->sock, readable, self, &error);
    }
    if (code == 0 && writable != NULL) {
        code = pco_loop_add_writer(loop, self->sock, writable, self, &error);
    }
    if (code != 0) {
        give_up(self, error.message);
    }
    return code == 0;
}

/* ---- Asking ---- */

static void print_rows(const asker *self, const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++) {
        printf("%d: ", self->number);
        for (int field = 0; field < PQnfields(result); field++) {
            printf("%s%s", field > 0 ? "|" : "", PQgetvalue(result, row, field));
        }
        putchar('\n');
    }
    fflush(stdout);
}

/* Prints what has come of the answer; returns whether that was the end of it, or of all. */
static bool take_results(asker *self)
{
    while (!PQisBusy(self->connection)) {
        PGresult *result = PQgetResult(self->connection);
        if (result == NULL) {
            return true;
        }
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_TUPLES_OK) {
            print_rows(self, result);
        } else if (status != PGRES_COMMAND_OK) {
            fprintf(stderr, "pg_queries: %d: %s", self->number, PQresultErrorMessage(result));
            failed = true;
        }
        PQclear(result);
    }
    return false;
}

static void take_notices(asker *self)
{
    PGnotify *notice;
    while (notices > 0 && (notice = PQnotifies(self->connection)) != NULL) {
        printf("%s: %s\n", notice->relname, notice->extra);
        fflush(stdout);
        PQfreemem(notice);
        notices--;
    }
}

static void readable(void *context)
{
    asker *self = context;
    if (PQconsumeInput(self->connection) != 1) {
        give_up(self, PQerrorMessage(self->connection));
        return;
    }
    bool answered = take_results(self);
    if (self->number == 0) {
        take_notices(self);
        answered = notices == 0 || (answered && failed);
    }
    if (answered) {
        end(self);
    }
}

/* Sends on; the loop calls as long as there is something left. */
static void writable(void *context)
{
    asker *self = context;
    int more = PQflush(self->connection);
    if (more < 0) {
        give_up(self, PQerrorMessage(self->connection));
    } else if (more == 0) {
        pco_loop_remove_writer(loop, self->sock);
    }
}

static void ask(asker *self)
{
    if (PQsetnonblocking(self->connection, 1) != 0 ||
        PQsendQuery(self->connection, self->query) != 1) {
        give_up(self, PQerrorMessage(self->connection));
        return;
    }
    watch(self, readable, writable);
}

/* ---- Connecting ---- */

static void go_on(void *context)
{
    asker *self = context;
    unwatch(self);
    switch (PQconnectPoll(self->connection)) {
    case PGRES_POLLING_READING:
        watch(self, go_on, NULL);
        break;
    case PGRES_POLLING_WRITING:
        watch(self, NULL, go_on);
        break;
    case PGRES_POLLING_OK:
        ask(self);
        break;
    default:
        give_up(self, PQerrorMessage(self->connection));
        break;
    }
}

/* "Waits" for room to write at first, as libpq wants it. */
static void start(asker *self, const char *where)
{
    left++;
    self->sock = PCO_NO_SOCKET;
    self->connection = PQconnectStart(where);
    if (self->connection == NULL || PQstatus(self->connection) == CONNECTION_BAD) {
        give_up(self,
                self->connection == NULL ? "out of memory" : PQerrorMessage(self->connection));
        return;
    }
    watch(self, NULL, go_on);
}

/* ---- The command line ---- */

/* Where it listens; NULL: nowhere. Returns how many arguments were flags; -1: a mistake. */
static int read_flags(int argc, char **argv, const char **channel)
{
    int i = 1;
    *channel = NULL;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (strcmp(argv[i], "--listen") == 0) {
            *channel = argv[i + 1];
        } else if (strcmp(argv[i], "--notices") == 0) {
            notices = strtoul(argv[i + 1], NULL, 10);
        } else {
            return -1;
        }
    }
    return i < argc && argv[i][0] != '-' && notices > 0 ? i - 1 : -1;
}

static bool is_name(const char *text)
{
    return strlen(text) < 64 && text[strspn(text, "abcdefghijklmnopqrstuvwxyz_")] == '\0';
}

int main(int argc, char **argv)
{
    const char *channel;
    pco_error error;
    int flags = read_flags(argc, argv, &channel);
    if (flags < 0 || (channel != NULL && !is_name(channel))) {
        fputs(USAGE, stderr);
        return USAGE_ERROR;
    }
    char **queries = argv + flags + 2;
    int count = argc - flags - 2;
    asker *askers = calloc((size_t)count + 1, sizeof *askers);
    if (askers == NULL || pco_loop_new(NULL, &loop, &error) != 0) {
        fprintf(stderr, "pg_queries: %s\n", askers == NULL ? "out of memory" : error.message);
        free(askers);
        return FAILED;
    }
    if (channel != NULL) {
        snprintf(askers[0].listen, sizeof askers[0].listen, "LISTEN %s", channel);
        askers[0].query = askers[0].listen;
        start(&askers[0], argv[flags + 1]);
    }
    for (int i = 1; i <= count; i++) {
        askers[i].number = i;
        askers[i].query = queries[i - 1];
        start(&askers[i], argv[flags + 1]);
    }
    if (left > 0) {
        pco_loop_run_forever(loop);
    }
    pco_loop_free(loop);
    free(askers);
    return failed ? FAILED : FINE;
}
