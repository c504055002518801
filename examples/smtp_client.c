/* SPDX-License-Identifier: MIT */
/*
 * smtp_client.c: sends a letter, after STARTTLS, to a server that has proved who it is.
 *
 *     smtp_client --host mail.example --from me@example.com --to you@example.net < letter
 *
 * The hard idea: nothing that matters is said or believed before TLS. Whoever is on the way can
 * take "STARTTLS" out of what the server offers: so a server that has none is left, unless --plain
 * allows for it. And they can put words behind the server's "ready", which would be heard inside of
 * TLS as if the server had said them: so nothing may follow it, in start_tls() and in the library.
 *
 * smtp_server.c is the other end.
 */
#include <portico.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE                                                                                      \
    "usage: smtp_client [flag]... --from ADDRESS --to ADDRESS < letter\n"                          \
    "  --host NAME       the server (localhost)\n"                                                 \
    "  --port N          (25)\n"                                                                   \
    "  --to ADDRESS      may be repeated\n"                                                        \
    "  --cacert FILE     whom to trust in the place of the system's authorities, in PEM\n"         \
    "  --plain           a server without STARTTLS is given the letter all the same (no)\n"        \
    "  --timeout S       seconds for all of it (60)\n"                                             \
    "  --help            prints this\n"                                                            \
    "exit code: 0, the server has taken the letter; 1, it has not; 2, a mistake on the command "   \
    "line\n"

enum { SENT = 0, FAILED = 1, USAGE_ERROR = 2, LINE_LIMIT = 1000, RECIPIENTS_LIMIT = 100 };

/* What the server answers next. */
typedef enum step { GREETING, HELLO, STARTTLS, SENDER, RECIPIENT, DATA, LETTER, GOODBYE } step;

static struct {
    pco_protocol protocol;
    pco_loop *loop;
    pco_transport *transport;
    pco_request *upgrading;
    pco_connection_options options;
    pco_ssl_context_options trusted; /* without a ca_file: the system's authorities */
    pco_ssl_context *ssl;
    const char *from;
    const char *to[RECIPIENTS_LIMIT];
    size_t to_count;
    bool plain;
    double timeout;
    char *letter; /* as it is sent: lines end in CR LF, the last one is a dot */
    size_t letter_length;

    step step;
    bool secure;
    bool has_starttls; /* the server says so */
    size_t told;       /* recipients */
    size_t used;       /* bytes in line */
    char line[LINE_LIMIT + 1];
    bool sent;
    bool failed; /* and it was said why */
} client = {.timeout = 60};

static void fail(const char *why)
{
    if (!client.failed && !client.sent) {
        fprintf(stderr, "smtp_client: %s\n", why);
        client.failed = true;
    }
    if (client.upgrading != NULL) {
        pco_request_cancel(client.upgrading);
    } else if (client.transport != NULL) {
        pco_transport_abort(client.transport);
    } else {
        pco_loop_stop(client.loop);
    }
}

/* ---- What we say ---- */

/* "COMMAND argument", and which answer is expected now. */
static void say(step next, const char *before, const char *argument, const char *after)
{
    pco_buffer parts[] = {{before, strlen(before)},
                          {argument, strlen(argument)},
                          {after, strlen(after)},
                          {"\r\n", 2}};

    client.step = next;
    pco_transport_writelines(client.transport, parts, sizeof parts / sizeof *parts);
}

static void say_hello(void)
{
    client.has_starttls = false;
    say(HELLO, "EHLO ", "localhost", "");
}

/* ---- STARTTLS ---- */

/* The connection goes on inside of TLS, or has ended: then connection_lost is next. */
static void started(pco_transport *transport, const pco_error *error, void *context)
{
    (void)context;
    pco_request_release(client.upgrading);
    client.upgrading = NULL;
    client.transport = transport;
    if (transport == NULL) {
        fail(error->message);
        return;
    }
    client.secure = true;
    say_hello(); /* it begins anew: what was heard in the clear counts no more */
}

static void start_tls(size_t behind)
{
    pco_start_tls_options options = {.size = sizeof options,
                                     .ssl = client.ssl,
                                     .tls = client.ssl == NULL ? PCO_ON : PCO_DEFAULT,
                                     .server_hostname = client.options.host,
                                     .ssl_shutdown_timeout = 2}; /* when all has been said */
    pco_error error;

    if (behind > 0) {
        fail("the server, or somebody on the way, has said more than that TLS may begin");
    } else if (pco_loop_start_tls(client.loop, client.transport, &options, started, NULL,
                                  &client.upgrading, &error) != 0) {
        fail(error.message);
    }
}

/* ---- What the server answers ---- */

static void hello_answered(void)
{
    if (!client.secure && client.has_starttls) {
        say(STARTTLS, "STARTTLS", "", "");
    } else if (!client.secure && !client.plain) {
        fail("the server has no STARTTLS, or somebody on the way hides it; --plain sends in the "
             "clear");
    } else {
        say(SENDER, "MAIL FROM:<", client.from, ">");
    }
}

/* `behind` is how many bytes came together with the answer, and after it. */
static void answered(size_t behind)
{
    switch (client.step) {
    case GREETING:
        say_hello();
        break;
    case HELLO:
        hello_answered();
        break;
    case STARTTLS:
        start_tls(behind);
        break;
    case SENDER:
    case RECIPIENT:
        if (client.told < client.to_count) {
            say(RECIPIENT, "RCPT TO:<", client.to[client.told++], ">");
        } else {
            say(DATA, "DATA", "", "");
        }
        break;
    case DATA:
        client.step = LETTER;
        pco_transport_write(client.transport, client.letter, client.letter_length);
        break;
    case LETTER:
        client.sent = true;
        say(GOODBYE, "QUIT", "", "");
        break;
    case GOODBYE:
        pco_transport_close(client.transport);
        break;
    }
}

/* "250-STARTTLS" is followed by another line, "250 STARTTLS" is the last one of an answer. */
static void line_received(size_t behind)
{
    static const char expected[] = {'2', '2', '2', '2', '2', '3', '2', '2'};
    const char *line = client.line;
    bool is_answer = strspn(line, "0123456789") == 3;

    if (!is_answer || (line[3] != ' ' && line[3] != '-' && line[3] != '\0')) {
        fail("that is no server of mail");
    } else if (line[0] != expected[client.step]) {
        char why[LINE_LIMIT + 32];

        snprintf(why, sizeof why, "the server answers: %s", line);
        fail(why);
    } else {
        if (client.step == HELLO &&
            strcmp(line + 3, line[3] == '-' ? "-STARTTLS" : " STARTTLS") == 0) {
            client.has_starttls = true;
        }
        if (line[3] != '-') {
            answered(behind);
        }
    }
}

/* Takes one byte: whether `line` is one now. */
static bool take(char byte)
{
    if (byte == '\n' && client.used > 0 && client.line[client.used - 1] == '\r') {
        client.line[client.used - 1] = '\0';
        client.used = 0;
        return true;
    }
    if (client.used == LINE_LIMIT || ((unsigned char)byte < ' ' && byte != '\r')) {
        fail("that is no server of mail");
    } else {
        client.line[client.used++] = byte;
    }
    return false;
}

/* ---- The protocol ---- */

static void connection_made(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    client.transport = transport;
}

static void data_received(pco_protocol *self, pco_transport *transport, const void *data,
                          size_t length)
{
    const char *next = data;

    (void)self;
    (void)transport;
    while (length > 0 && !client.failed) {
        length--;
        if (take(*next++)) {
            line_received(length);
        }
    }
}

static void connection_lost(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    (void)self;
    (void)transport;
    client.transport = NULL;
    fail(error != NULL ? error->message : "the server has ended the connection");
}

static const pco_protocol_methods methods = {
    .size = sizeof methods,
    .connection_made = connection_made,
    .data_received = data_received,
    .connection_lost = connection_lost,
};

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)protocol;
    (void)context;
    if (transport == NULL) {
        fail(error->message);
    }
}

static void waited_enough(void *context)
{
    (void)context;
    fail("it takes too long");
}

/* ---- The letter ---- */

static void append(const char *bytes, size_t length)
{
    static size_t room;

    if (client.letter_length + length > room) {
        room = (client.letter_length + length) * 2;
        client.letter = realloc(client.letter, room);
        if (client.letter == NULL) {
            fprintf(stderr, "smtp_client: out of memory\n");
            exit(FAILED);
        }
    }
    memcpy(client.letter + client.letter_length, bytes, length);
    client.letter_length += length;
}

/* A line that begins with a dot gets another one, lest it be taken for the end. */
static void read_letter(void)
{
    bool begins = true;
    int byte;

    while ((byte = getchar()) != EOF) {
        char c = (char)byte;

        if (begins && c == '.') {
            append(".", 1);
        }
        begins = c == '\n';
        if (c == '\n') {
            append("\r\n", 2);
        } else if (c != '\r') {
            append(&c, 1);
        }
    }
    if (!begins) {
        append("\r\n", 2);
    }
    append(".\r\n", 3);
}

/* ---- The command line ---- */

static void refuse(const char *flag, const char *why)
{
    fprintf(stderr, "smtp_client: %s %s\n%s", flag, why, USAGE);
    exit(USAGE_ERROR);
}

/* What follows the flag; `next` moves along argv, which ends in NULL. */
static const char *text(char ***next, const char *flag)
{
    if (**next == NULL) {
        refuse(flag, "needs a value");
    }
    return *(*next)++;
}

static double number(char ***next, const char *flag, double least, double most)
{
    const char *digits = text(next, flag);
    char *end = NULL;
    double value = strtod(digits, &end);

    if (end == digits || *end != '\0' || !(value >= least && value <= most)) {
        refuse(flag, "needs a number, and not so small or large a one");
    }
    return value;
}

/* An address that is no command besides. */
static const char *address(char ***next, const char *flag)
{
    const char *value = text(next, flag);

    for (const char *c = value; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 127 || *c == '<' || *c == '>') {
            refuse(flag, "needs an address");
        }
    }
    if (*value == '\0' || strlen(value) > 256) {
        refuse(flag, "needs an address");
    }
    return value;
}

static void read_flag(const char *flag, char ***next)
{
    if (strcmp(flag, "--help") == 0) {
        printf("%s", USAGE);
        exit(SENT);
    } else if (strcmp(flag, "--host") == 0) {
        client.options.host = text(next, flag);
    } else if (strcmp(flag, "--port") == 0) {
        client.options.port = (int)number(next, flag, 1, 65535);
    } else if (strcmp(flag, "--from") == 0) {
        client.from = address(next, flag);
    } else if (strcmp(flag, "--to") == 0) {
        if (client.to_count == RECIPIENTS_LIMIT) {
            refuse(flag, "is there too often");
        }
        client.to[client.to_count++] = address(next, flag);
    } else if (strcmp(flag, "--cacert") == 0) {
        client.trusted.ca_file = text(next, flag);
    } else if (strcmp(flag, "--plain") == 0) {
        client.plain = true;
    } else if (strcmp(flag, "--timeout") == 0) {
        client.timeout = number(next, flag, 0.001, 1e6);
    } else {
        refuse(flag, "is unknown");
    }
}

static void read_settings(char **argv)
{
    char **next = argv + 1;

    client.protocol.methods = &methods;
    client.options = (pco_connection_options){.size = sizeof client.options,
                                              .protocol = &client.protocol,
                                              .host = "localhost",
                                              .port = 25};
    client.trusted = (pco_ssl_context_options){.size = sizeof client.trusted};
    while (*next != NULL) {
        const char *flag = *next++;
        read_flag(flag, &next);
    }
    if (client.from == NULL || client.to_count == 0) {
        refuse(client.from == NULL ? "--from" : "--to", "is missing");
    }
}

/* ---- The program ---- */

int main(int argc, char **argv)
{
    pco_error error;

    (void)argc;
    read_settings(argv);
    read_letter();

    int err = pco_loop_new(NULL, &client.loop, &error);
    if (err == 0 && client.trusted.ca_file != NULL) {
        err = pco_ssl_context_new_client(&client.trusted, &client.ssl, &error);
    }
    if (err == 0) {
        err =
            pco_loop_create_connection(client.loop, &client.options, connected, NULL, NULL, &error);
    }
    if (err == 0) {
        pco_loop_call_later(client.loop, client.timeout, waited_enough, NULL, NULL);
        pco_loop_run_forever(client.loop);
    } else {
        fprintf(stderr, "smtp_client: %s\n", error.message);
    }

    pco_ssl_context_release(client.ssl);
    pco_loop_free(client.loop);
    free(client.letter);
    return client.sent ? SENT : FAILED;
}
