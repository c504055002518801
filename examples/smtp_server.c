/* SPDX-License-Identifier: MIT */
/*
 * smtp_server.c: takes mail, in the clear or after STARTTLS, and prints it. It delivers nothing.
 *
 *     smtp_server --port 2525 --ssl cert.pem key.pem
 *     smtp_client --host localhost --port 2525 --from me@here --to you@there < letter
 *
 * The hard idea: a connection that becomes a TLS connection on the way (RFC 3207). Three things
 * have to be right, and with a number of servers they were not:
 *
 *   - What stands behind STARTTLS in the same packet was not encrypted: whoever is on the way may
 *     have put it there. It must not be taken for the first words inside of TLS. Here that is
 *     refused: starttls(). What the library itself still holds it refuses, too.
 *   - Our "ready" has to leave in the clear, and all after it inside of TLS. That is the library's
 *     matter: what was written before pco_loop_start_tls leaves first.
 *   - What was said before counts no more: started().
 *
 * docs/start_tls.md has the same with less around it.
 *
 * Lines end in CR LF, and in nothing else: servers that were generous there let mail be smuggled.
 */
#include <portico.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE                                                                                      \
    "usage: smtp_server [flag]...\n"                                                               \
    "  --host NAME      where to listen (127.0.0.1)\n"                                             \
    "  --port N         0: one that is free (2525)\n"                                              \
    "  --ssl CERT KEY   STARTTLS, with these PEM files (no TLS)\n"                                 \
    "  --require-tls    takes no mail in the clear (it does)\n"                                    \
    "  --help           prints this\n"

enum {
    LINE_LIMIT = 1000,       /* bytes, CR LF included (RFC 5321, 4.5.3.1) */
    LETTER_LIMIT = 10 << 20, /* bytes */
    RECIPIENTS_LIMIT = 100,
    PATIENCE = 300 /* seconds that a client may say nothing */
};

static pco_ssl_context *tls; /* NULL: there is no STARTTLS */
static bool tls_is_required;

typedef struct session {
    pco_protocol protocol; /* the first member: the library's view of this struct */
    pco_transport *transport;
    pco_handle *timer;
    bool secure;
    bool greeted;    /* by HELO or EHLO, since the last STARTTLS */
    bool has_sender; /* a letter has begun */
    bool in_letter;  /* after DATA: lines are the letter's */
    bool too_large;
    bool leaving; /* an answer was the last one, or it was said what went wrong */
    int recipients;
    size_t used; /* bytes in line */
    char line[LINE_LIMIT + 1];
    size_t size, room; /* of the letter */
    char *letter;
} session;

static void say(session *self, const char *answer)
{
    pco_transport_write(self->transport, answer, strlen(answer));
    pco_transport_write(self->transport, "\r\n", 2);
}

/* The last thing that is said. */
static void leave(session *self, const char *answer)
{
    say(self, answer);
    self->leaving = true;
    pco_transport_close(self->transport);
}

static void forget_letter(session *self)
{
    self->has_sender = self->in_letter = self->too_large = false;
    self->recipients = 0;
    self->size = 0;
}

/* ---- Patience ---- */

static void waited_enough(void *context)
{
    leave(context, "421 you say nothing");
}

static void set_timer(session *self)
{
    pco_handle_cancel(self->timer);
    pco_handle_release(self->timer);
    self->timer = NULL;
    pco_loop_call_later(pco_transport_get_loop(self->transport), PATIENCE, waited_enough, self,
                        &self->timer);
}

/* ---- The letter ---- */

static bool append(session *self, const char *line)
{
    size_t length = strlen(line);

    if (self->size + length + 1 > self->room) {
        size_t room = (self->size + length + 1) * 2;
        char *grown = realloc(self->letter, room);

        if (grown == NULL) {
            return false;
        }
        self->letter = grown;
        self->room = room;
    }
    memcpy(self->letter + self->size, line, length);
    self->letter[self->size + length] = '\n';
    self->size += length + 1;
    return true;
}

static void end_letter(session *self)
{
    if (self->too_large) {
        say(self, "552 the letter is too large");
    } else {
        printf("---- a letter, %s, to %d:\n", self->secure ? "by TLS" : "in the clear",
               self->recipients);
        if (self->size > 0) {
            fwrite(self->letter, 1, self->size, stdout);
        }
        printf("---- its end\n");
        fflush(stdout);
        say(self, "250 taken");
    }
    forget_letter(self);
}

/* A line of the letter; one that begins with a dot has been given another one on the way. */
static void letter_line(session *self)
{
    const char *line = self->line;

    if (strcmp(line, ".") == 0) {
        end_letter(self);
        return;
    }
    line += *line == '.';
    self->too_large =
        self->too_large || self->size + strlen(line) >= LETTER_LIMIT || !append(self, line);
}

/* ---- STARTTLS ---- */

/* The connection goes on inside of TLS, or has ended: then connection_lost is next. */
static void started(pco_transport *transport, const pco_error *error, void *context)
{
    session *self = context;

    if (transport == NULL) {
        fprintf(stderr, "smtp_server: STARTTLS: %s\n", error->message);
        self->leaving = true;
        return;
    }
    self->transport = transport;
    self->secure = true;
    self->greeted = false; /* it begins anew (RFC 3207, 4.2) */
    forget_letter(self);
    set_timer(self);
}

static void starttls(session *self, size_t behind)
{
    pco_start_tls_options options = {.size = sizeof options, .ssl = tls, .server_side = PCO_ON};
    pco_error error;

    if (tls == NULL || self->secure) {
        say(self, "502 there is no STARTTLS");
        return;
    }
    if (behind > 0) {
        leave(self, "554 nothing may follow STARTTLS before the answer");
        return;
    }
    say(self, "220 ready");
    pco_handle_cancel(self->timer); /* the handshake has a time limit of its own */
    if (pco_loop_start_tls(pco_transport_get_loop(self->transport), self->transport, &options,
                           started, self, NULL, &error) != 0) {
        fprintf(stderr, "smtp_server: STARTTLS: %s\n", error.message);
        self->leaving = true;
        pco_transport_abort(self->transport); /* in the clear nobody expects another word */
    }
}

/* ---- Commands ---- */

static bool begins(const char *line, const char *word)
{
    for (; *word != '\0'; line++, word++) {
        if (toupper((unsigned char)*line) != *word) {
            return false;
        }
    }
    return true;
}

static bool is(const char *line, const char *word)
{
    return begins(line, word) && line[strlen(word)] == '\0';
}

static void greeting(session *self, bool extended)
{
    forget_letter(self);
    self->greeted = true;
    if (extended && tls != NULL && !self->secure) {
        say(self, "250-good day\r\n250-STARTTLS\r\n250 8BITMIME");
    } else {
        say(self, extended ? "250-good day\r\n250 8BITMIME" : "250 good day");
    }
}

static void sender(session *self)
{
    if (!self->greeted || self->has_sender) {
        say(self, "503 not now");
    } else if (tls_is_required && !self->secure) {
        say(self, "530 STARTTLS comes first");
    } else {
        self->has_sender = true;
        say(self, "250 go on");
    }
}

static void recipient(session *self)
{
    if (!self->has_sender) {
        say(self, "503 not now");
    } else if (self->recipients == RECIPIENTS_LIMIT) {
        say(self, "452 too many recipients");
    } else {
        self->recipients++;
        say(self, "250 go on");
    }
}

static void data(session *self)
{
    if (self->recipients == 0) {
        say(self, "503 not now");
    } else {
        self->in_letter = true;
        say(self, "354 go on, and end with a dot");
    }
}

/* `behind` is how many bytes came together with this line, and after it. */
static void command(session *self, size_t behind)
{
    const char *line = self->line;

    if (begins(line, "EHLO ") || begins(line, "HELO ")) {
        greeting(self, begins(line, "E"));
    } else if (is(line, "STARTTLS")) {
        starttls(self, behind);
    } else if (begins(line, "MAIL FROM:")) {
        sender(self);
    } else if (begins(line, "RCPT TO:")) {
        recipient(self);
    } else if (is(line, "DATA")) {
        data(self);
    } else if (is(line, "RSET")) {
        forget_letter(self);
        say(self, "250 forgotten");
    } else if (is(line, "NOOP")) {
        say(self, "250 nothing done");
    } else if (is(line, "QUIT")) {
        leave(self, "221 goodbye");
    } else {
        say(self, "500 what is that?");
    }
}

/* ---- The protocol ---- */

static void connection_made(pco_protocol *protocol, pco_transport *transport)
{
    session *self = (session *)protocol;

    self->transport = transport;
    say(self, "220 portico ESMTP");
    set_timer(self);
}

/* Takes one byte: whether `line` is one now. Anything but CR LF at its end breaks it off. */
static bool take(session *self, char byte)
{
    bool after_cr = self->used > 0 && self->line[self->used - 1] == '\r';

    if (byte == '\0' || (byte == '\n') != after_cr) {
        leave(self, "500 lines end in CR LF");
    } else if (byte == '\n') {
        self->line[self->used - 1] = '\0';
        self->used = 0;
        return true;
    } else if (self->used + 1 == LINE_LIMIT) {
        leave(self, "500 the line is too long");
    } else {
        self->line[self->used++] = byte;
    }
    return false;
}

static void data_received(pco_protocol *protocol, pco_transport *transport, const void *bytes,
                          size_t length)
{
    session *self = (session *)protocol;
    const char *next = bytes;

    (void)transport;
    set_timer(self);
    while (length > 0 && !self->leaving) {
        length--;
        if (!take(self, *next++)) {
            continue;
        }
        if (self->in_letter) {
            letter_line(self);
        } else {
            command(self, length);
        }
    }
}

/* A client that asks and does not read the answers is not read either. */
static void pause_writing(pco_protocol *protocol, pco_transport *transport)
{
    (void)protocol;
    pco_transport_pause_reading(transport);
}

static void resume_writing(pco_protocol *protocol, pco_transport *transport)
{
    (void)protocol;
    pco_transport_resume_reading(transport);
}

static void connection_lost(pco_protocol *protocol, pco_transport *transport,
                            const pco_error *error)
{
    session *self = (session *)protocol;

    (void)transport;
    if (error != NULL && !self->leaving && !pco_error_is_disconnect(error->code)) {
        fprintf(stderr, "smtp_server: %s\n", error->message);
    }
    pco_handle_cancel(self->timer);
    pco_handle_release(self->timer);
    free(self->letter);
    free(self);
}

static void shutting_down(pco_protocol *protocol, pco_transport *transport)
{
    (void)transport;
    leave((session *)protocol, "421 the server ends");
}

static const pco_protocol_methods methods = {
    .size = sizeof methods,
    .connection_made = connection_made,
    .data_received = data_received,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = connection_lost,
    .shutting_down = shutting_down,
};

static pco_protocol *make_session(void *context)
{
    session *self = calloc(1, sizeof *self);

    (void)context;
    if (self == NULL) {
        return NULL;
    }
    self->protocol.methods = &methods;
    return &self->protocol;
}

/* ---- The program, as in echo_server.c ---- */

static void print_addresses(void *context)
{
    const pco_server *server = context;

    for (size_t i = 0; i < pco_server_get_socket_count(server); i++) {
        pco_address address;
        char name[PCO_ADDRESS_TEXT_SIZE];

        if (pco_server_get_sockname(server, i, &address) == 0 &&
            pco_address_format(&address, name, sizeof name) == 0) {
            printf("listening on %s\n", name);
        }
    }
    fflush(stdout);
}

static void refuse(const char *flag, const char *why)
{
    fprintf(stderr, "smtp_server: %s %s\n%s", flag, why, USAGE);
    exit(2);
}

/* What follows the flag; `next` moves along argv, which ends in NULL. */
static const char *text(char ***next, const char *flag)
{
    if (**next == NULL) {
        refuse(flag, "needs a value");
    }
    return *(*next)++;
}

static int port(char ***next, const char *flag)
{
    const char *digits = text(next, flag);
    char *end = NULL;
    long value = strtol(digits, &end, 10);

    if (end == digits || *end != '\0' || value < 0 || value > 65535) {
        refuse(flag, "needs a number from 0 to 65535");
    }
    return (int)value;
}

static void read_flags(char **argv, pco_server_options *server, pco_ssl_context_options *ssl)
{
    char **next = argv + 1;

    while (*next != NULL) {
        const char *flag = *next++;

        if (strcmp(flag, "--help") == 0) {
            printf("%s", USAGE);
            exit(EXIT_SUCCESS);
        } else if (strcmp(flag, "--host") == 0) {
            server->host = text(&next, flag);
        } else if (strcmp(flag, "--port") == 0) {
            server->port = port(&next, flag);
        } else if (strcmp(flag, "--ssl") == 0) {
            ssl->certificate_file = text(&next, flag);
            ssl->key_file = text(&next, flag);
        } else if (strcmp(flag, "--require-tls") == 0) {
            tls_is_required = true;
        } else {
            refuse(flag, "is unknown");
        }
    }
    if (tls_is_required && ssl->certificate_file == NULL) {
        refuse("--require-tls", "needs --ssl");
    }
}

int main(int argc, char **argv)
{
    pco_ssl_context_options ssl = {.size = sizeof ssl};
    pco_server_options options = {.size = sizeof options,
                                  .protocol_factory = make_session,
                                  .host = "127.0.0.1",
                                  .port = 2525,
                                  .keep_alive = PCO_ON,
                                  /* so that who is refused hears why */
                                  .lingering_close = PCO_ON};
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_error error;

    (void)argc;
    read_flags(argv, &options, &ssl);

    int err = pco_loop_new(NULL, &loop, &error);
    if (err == 0 && ssl.certificate_file != NULL) {
        err = pco_ssl_context_new(&ssl, &tls, &error);
    }
    if (err == 0) {
        err = pco_loop_create_server(loop, &options, &server, &error);
    }
    if (err == 0) {
        pco_loop_call_soon(loop, print_addresses, server, NULL);
        err = pco_server_serve_until_signal(server, 5, &error);
    }
    if (err != 0) {
        fprintf(stderr, "smtp_server: %s\n", error.message);
    }

    pco_server_free(server);
    pco_ssl_context_release(tls);
    pco_loop_free(loop);
    return err == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
