/* SPDX-License-Identifier: MIT */
/*
 * websocket.c: says something to a WebSocket server, and prints what it answers.
 *
 *     websocket wss://echo.example/ hello "and again"
 *     websocket --answers 0 wss://news.example/feed
 *
 * The hard idea: a protocol's library between the callbacks and the transport. wslay knows frames
 * and no sockets: it asks for input by one callback and brings output by another. What arrived is
 * lent to it for the length of data_received; where it wants more than that it is told "would
 * block", and asked again when more has come. What it brings is written, unless the connection is
 * full: then it hears the same, and is asked again by resume_writing.
 *
 * The upgrade from HTTP (RFC 6455, 4.1) is read here. wslay wants random numbers, and the upgrade
 * SHA-1: both are OpenSSL's. Built where wslay is found (Debian: libwslay-dev),
 * which Microsoft's compiler does not know: it lacks ssize_t.
 */
#include <portico.h>

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#define USAGE                                                                                      \
    "usage: websocket [flag]... URL [MESSAGE]...\n"                                                \
    "  URL            ws://HOST:PORT/PATH, or wss: for TLS\n"                                      \
    "  MESSAGE        each is sent as a text\n"                                                    \
    "  --answers N    ends after so many; 0: when the server does (as many as messages)\n"         \
    "  --timeout S    seconds for connecting (10)\n"                                               \
    "  --cacert FILE  whom to trust in the place of the system's authorities, in PEM\n"            \
    "  --help         prints this\n"                                                               \
    "exit code: 0, the answers have come; 1, not all of them; 2, a mistake on the command line\n"

enum {
    FINE = 0,
    FAILED = 1,
    USAGE_ERROR = 2,
    HEAD_LIMIT = 8192,        /* of the answer to the upgrade */
    MESSAGE_LIMIT = 16 << 20, /* of what the server says, at once */
    CLOSE_TIME = 5,           /* seconds for the last words, the server's and ours */
    KEY_SIZE = 24,            /* base64 of 16 bytes */
    ACCEPT_SIZE = 28,         /* and of 20 */
};

/* Read from the command line. */
static struct {
    pco_ssl_context_options ssl; /* without a ca_file: the system's authorities */
    pco_connection_options connection;
    char host[256];
    const char *authority; /* as it stands in the URL */
    int authority_length;
    const char *path;
    char **messages;
    unsigned long answers;
} set;

static struct {
    pco_protocol protocol;
    pco_loop *loop;
    pco_transport *transport;
    wslay_event_context_ptr frames;
    const char *input; /* lent, while data_received runs */
    size_t input_length;
    bool full;     /* between pause_writing and resume_writing */
    bool upgraded; /* from here on there are frames */
    bool told;     /* what went wrong */
    char head[HEAD_LIMIT];
    size_t head_length;
    char key[KEY_SIZE + 1];
    unsigned long answers;
    bool done;
} client;

static void fail(const char *what)
{
    if (!client.told && !client.done) {
        fprintf(stderr, "websocket: %s\n", what);
        client.told = true;
    }
    if (client.transport != NULL) {
        pco_transport_close(client.transport); /* wslay may have told the server why */
    }
}

/* ---- The upgrade ---- */

/* What the server must have made of our key: it shows that it speaks WebSocket. */
static void expected_accept(char accept[ACCEPT_SIZE + 1])
{
    static const char appendix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char digest[SHA_DIGEST_LENGTH];
    char text[KEY_SIZE + sizeof appendix];

    memcpy(text, client.key, KEY_SIZE);
    memcpy(text + KEY_SIZE, appendix, sizeof appendix);
    SHA1((const unsigned char *)text, KEY_SIZE + sizeof appendix - 1, digest);
    EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
}

static void ask_for_upgrade(void)
{
    unsigned char random[16];
    char request[1024];

    if (RAND_bytes(random, sizeof random) != 1) {
        fail("OpenSSL has no random numbers");
        return;
    }
    EVP_EncodeBlock((unsigned char *)client.key, random, sizeof random);
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: %.*s\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                          "Sec-WebSocket-Version: 13\r\n\r\n",
                          set.path, set.authority_length, set.authority, client.key);
    pco_transport_write(client.transport, request, (size_t)length);
}

static bool equals_in_any_case(const char *text, size_t length, const char *word)
{
    for (size_t i = 0; i < length; i++) {
        if (tolower((unsigned char)text[i]) != tolower((unsigned char)word[i])) {
            return false; /* at the latest at the end of the word */
        }
    }
    return word[length] == '\0';
}

/* The value of the field that is there just once; "" if not. */
static const char *find_field(const char *name, size_t *length)
{
    const char *found = "";

    *length = 0;
    for (const char *line = strstr(client.head, "\r\n"); line != NULL;
         line = strstr(line, "\r\n")) {
        line += 2;
        size_t name_length = strcspn(line, ":\r");

        if (line[name_length] == ':' && equals_in_any_case(line, name_length, name)) {
            if (*found != '\0') {
                *length = 0;
                return "";
            }
            found = line + name_length + 1;
            found += strspn(found, " \t");
            *length = strcspn(found, "\r");
            while (*length > 0 && (found[*length - 1] == ' ' || found[*length - 1] == '\t')) {
                --*length;
            }
        }
    }
    return found;
}

static bool has_field(const char *name, const char *value)
{
    size_t length;
    const char *found = find_field(name, &length);

    return equals_in_any_case(found, length, value);
}

static void read_head(void)
{
    char accept[ACCEPT_SIZE + 1], refusal[64];
    size_t length, extension, protocol;

    if (strncmp(client.head, "HTTP/1.1 101", 12) != 0) {
        snprintf(refusal, sizeof refusal, "the server answers with %.20s",
                 strncmp(client.head, "HTTP/1.", 7) == 0 ? client.head : "something else");
        refusal[strcspn(refusal, "\r\n")] = '\0';
        fail(refusal);
        return;
    }
    expected_accept(accept);
    const char *found = find_field("Sec-WebSocket-Accept", &length);
    find_field("Sec-WebSocket-Extensions", &extension);
    find_field("Sec-WebSocket-Protocol", &protocol);
    client.upgraded = has_field("Upgrade", "websocket") && has_field("Connection", "Upgrade") &&
                      length == ACCEPT_SIZE && memcmp(found, accept, ACCEPT_SIZE) == 0 &&
                      extension == 0 && protocol == 0;
    if (!client.upgraded) {
        fail("the server's answer to the upgrade is none");
    }
}

/* Takes the head from the input, byte by byte, up to its end. */
static void take_head(void)
{
    while (client.input_length > 0 && !client.upgraded && !client.told) {
        if (client.head_length + 1 == HEAD_LIMIT || *client.input == '\0') {
            fail("the server's answer to the upgrade is none");
            return;
        }
        client.head[client.head_length++] = *client.input++;
        client.head[client.head_length] = '\0';
        client.input_length--;
        if (client.head_length >= 4 &&
            memcmp(client.head + client.head_length - 4, "\r\n\r\n", 4) == 0) {
            read_head();
        }
    }
}

/* ---- What wslay asks for ---- */

static ssize_t bring_input(wslay_event_context_ptr frames, uint8_t *buffer, size_t size, int flags,
                           void *context)
{
    size_t length = client.input_length < size ? client.input_length : size;

    (void)flags;
    (void)context;
    if (length == 0) {
        wslay_event_set_error(frames, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buffer, client.input, length);
    client.input += length;
    client.input_length -= length;
    return (ssize_t)length;
}

static ssize_t take_output(wslay_event_context_ptr frames, const uint8_t *data, size_t length,
                           int flags, void *context)
{
    (void)flags;
    (void)context;
    if (client.full) {
        wslay_event_set_error(frames, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (pco_transport_write(client.transport, data, length) != 0) {
        wslay_event_set_error(frames, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    return (ssize_t)length;
}

/* Each frame of a client is masked by numbers that nobody can guess. */
static int make_mask(wslay_event_context_ptr frames, uint8_t *buffer, size_t length, void *context)
{
    (void)context;
    if (RAND_bytes(buffer, (int)length) != 1) {
        wslay_event_set_error(frames, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    return 0;
}

/* A text may hold what terminals take for commands. */
static void print_text(const uint8_t *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        bool is_control = (text[i] < ' ' && text[i] != '\t' && text[i] != '\n') || text[i] == 127;
        putchar(is_control ? '?' : text[i]);
    }
    putchar('\n');
}

/* The server has not answered our goodbye. */
static void waited_enough(void *context)
{
    (void)context;
    if (client.transport != NULL) {
        pco_transport_abort(client.transport);
    }
}

static void message_received(wslay_event_context_ptr frames,
                             const struct wslay_event_on_msg_recv_arg *message, void *context)
{
    (void)context;
    if (client.done) {
        return;
    }
    if (message->opcode == WSLAY_TEXT_FRAME) {
        print_text(message->msg, message->msg_length);
    } else if (message->opcode == WSLAY_BINARY_FRAME) {
        printf("(%zu bytes)\n", message->msg_length);
    } else {
        return; /* pings are answered by wslay */
    }
    fflush(stdout);
    client.answers++;
    if (client.answers == set.answers) {
        client.done = true;
        wslay_event_queue_close(frames, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
        pco_loop_call_later(client.loop, CLOSE_TIME, waited_enough, NULL, NULL);
    }
}

/* ---- Turning the wheel ---- */

/* Whatever wslay wants to say is said; when both have said their goodbye, that is all. */
static void say_all(void)
{
    if (wslay_event_send(client.frames) != 0) {
        fail("the frames cannot be sent");
    } else if (wslay_event_get_close_received(client.frames) &&
               wslay_event_get_close_sent(client.frames)) {
        client.done = client.done || set.answers == 0;
        pco_transport_close(client.transport);
    } else if (!wslay_event_get_read_enabled(client.frames) &&
               !wslay_event_get_close_received(client.frames)) {
        fail("the server does not keep to the protocol, or says too much at once");
    }
}

static bool begin_frames(void)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = bring_input,
        .send_callback = take_output,
        .genmask_callback = make_mask,
        .on_msg_recv_callback = message_received,
    };

    if (wslay_event_context_client_init(&client.frames, &callbacks, NULL) != 0) {
        return false;
    }
    wslay_event_config_set_max_recv_msg_length(client.frames, MESSAGE_LIMIT);
    for (char **next = set.messages; *next != NULL; next++) {
        struct wslay_event_msg message = {WSLAY_TEXT_FRAME, (const uint8_t *)*next, strlen(*next)};

        if (wslay_event_queue_msg(client.frames, &message) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- The protocol ---- */

static void connection_made(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    client.transport = transport;
    ask_for_upgrade();
}

static void data_received(pco_protocol *self, pco_transport *transport, const void *data,
                          size_t length)
{
    (void)self;
    (void)transport;
    client.input = data;
    client.input_length = length;
    if (!client.upgraded) {
        take_head();
    }
    if (client.upgraded && client.frames == NULL && !begin_frames()) {
        fail("out of memory");
    } else if (client.upgraded && wslay_event_recv(client.frames) != 0) {
        fail("the frames cannot be read");
    } else if (client.upgraded) {
        say_all();
    }
}

static void pause_writing(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    client.full = true;
}

static void resume_writing(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    client.full = false;
    if (client.frames != NULL) {
        say_all();
    }
}

static void connection_lost(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    (void)self;
    (void)transport;
    client.transport = NULL;
    fail(error != NULL ? error->message : "the server has ended the connection too early");
    pco_loop_stop(client.loop);
}

static const pco_protocol_methods methods = {
    .size = sizeof methods,
    .connection_made = connection_made,
    .data_received = data_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
};

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)protocol;
    (void)context;
    if (transport == NULL) {
        fail(error->message);
        pco_loop_stop(client.loop);
    }
}

/* ---- The command line ---- */

static void refuse(const char *what, const char *why)
{
    fprintf(stderr, "websocket: %s %s\n%s", what, why, USAGE);
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

static double number(char ***next, const char *flag)
{
    const char *digits = text(next, flag);
    char *end = NULL;
    double value = strtod(digits, &end);

    if (end == digits || *end != '\0' || !(value >= 0 && value <= 1e6)) {
        refuse(flag, "needs a number, not below 0, and not so large a one");
    }
    return value;
}

/* "host", "host:port" or "[::1]:port" */
static void read_authority(const char *url)
{
    bool literal = set.authority[0] == '[';
    const char *host = set.authority + literal;
    const char *end = set.authority + set.authority_length;
    size_t length = strcspn(host, literal ? "]" : ":/?");
    const char *rest = host + length + literal;

    if (length == 0 || (literal && host[length] != ']') || length >= sizeof set.host ||
        (rest != end && *rest != ':')) {
        refuse(url, "has no host");
    }
    memcpy(set.host, host, length);
    set.connection.host = set.host;
    if (rest != end) {
        char *behind = NULL;
        long port = isdigit((unsigned char)rest[1]) ? strtol(rest + 1, &behind, 10) : 0;

        if (port < 1 || port > 65535 || behind != end) {
            refuse(url, "has no port from 1 to 65535");
        }
        set.connection.port = (int)port;
    }
}

static void read_url(const char *url)
{
    if (strlen(url) > 512) {
        refuse("URL", "is too long");
    }
    for (const char *c = url; *c != '\0'; c++) {
        if (*c <= ' ' || *c == 127 || *c == '#') {
            refuse("URL", "has characters that none has, or a part behind #");
        }
    }
    if (strncmp(url, "wss://", 6) == 0) {
        set.connection.port = 443;
        set.connection.tls = PCO_ON;
        set.authority = url + 6;
    } else if (strncmp(url, "ws://", 5) == 0) {
        set.connection.port = 80;
        set.authority = url + 5;
    } else {
        refuse(url, "is no URL such as wss://example.com/");
    }
    set.authority_length = (int)strcspn(set.authority, "/?");
    set.path = set.authority + set.authority_length;
    if (*set.path == '\0') {
        set.path = "/";
    } else if (*set.path == '?') {
        refuse(url, "has a query and no path");
    }
    read_authority(url);
}

static void read_settings(char **argv)
{
    char **next = argv + 1;
    bool has_answers = false;

    set.ssl = (pco_ssl_context_options){.size = sizeof set.ssl};
    client.protocol.methods = &methods;
    set.connection = (pco_connection_options){.size = sizeof set.connection,
                                              .protocol = &client.protocol,
                                              .connect_timeout = 10,
                                              .close_timeout = CLOSE_TIME};
    while (*next != NULL && strncmp(*next, "--", 2) == 0) {
        const char *flag = *next++;

        if (strcmp(flag, "--help") == 0) {
            printf("%s", USAGE);
            exit(FINE);
        } else if (strcmp(flag, "--answers") == 0) {
            set.answers = (unsigned long)number(&next, flag);
            has_answers = true;
        } else if (strcmp(flag, "--timeout") == 0) {
            set.connection.connect_timeout = number(&next, flag);
        } else if (strcmp(flag, "--cacert") == 0) {
            set.ssl.ca_file = text(&next, flag);
        } else {
            refuse(flag, "is unknown");
        }
    }
    read_url(text(&next, "URL"));
    set.messages = next;
    while (!has_answers && *next++ != NULL) {
        set.answers++;
    }
}

/* ---- The program ---- */

static void start(void *context)
{
    pco_error *error = context;

    if (pco_loop_create_connection(client.loop, &set.connection, connected, NULL, NULL, error) !=
        0) {
        fail(error->message);
        pco_loop_stop(client.loop);
    }
}

int main(int argc, char **argv)
{
    pco_error error;

    (void)argc;
    read_settings(argv);

    int err = pco_loop_new(NULL, &client.loop, &error);
    if (err == 0 && set.connection.tls == PCO_ON && set.ssl.ca_file != NULL) {
        set.connection.tls = PCO_DEFAULT;
        err = pco_ssl_context_new_client(&set.ssl, &set.connection.ssl, &error);
    }
    if (err == 0) {
        pco_loop_call_soon(client.loop, start, &error, NULL);
        pco_loop_run_forever(client.loop);
    } else {
        fail(error.message);
    }

    wslay_event_context_free(client.frames);
    pco_ssl_context_release(set.connection.ssl);
    pco_loop_free(client.loop);
    return client.done && !client.told ? FINE : FAILED;
}
