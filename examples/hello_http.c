/* SPDX-License-Identifier: MIT */
/*
 * hello_http.c: one page over HTTP/1.0 and 1.1, or HTTPS, that a browser, curl and wrk can load.
 *
 *     hello_http --port 8080                          http://127.0.0.1:8080/
 *     hello_http --port 8443 --ssl cert.pem key.pem   https://127.0.0.1:8443/
 *
 * The hard idea: a buffered protocol. The library receives directly into the array of the
 * connection, which holds one head of a request, and the requests are read where they lie. So the
 * size of the array is the limit of a head, and the one thing that a connection costs.
 *
 * Connections are kept alive, requests may be pipelined (RFC 9112). A request that cannot be read
 * for certain is answered and the connection closed: guessing is how requests are smuggled.
 */
#include <portico.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USAGE                                                                                      \
    "usage: hello_http [flag]...\n"                                                                \
    "  --host NAME      where to listen (127.0.0.1)\n"                                             \
    "  --port N         0: one that is free (8080)\n"                                              \
    "  --ssl CERT KEY   TLS, with these PEM files (no TLS)\n"                                      \
    "  --timeout S      seconds for a request, and between two (30)\n"                             \
    "  --help           prints this\n"

enum {
    HEAD_LIMIT = 8192,  /* a longer head is 431 */
    BODY_LIMIT = 65536, /* bodies are read and dropped up to here; a larger one is 413 */
};

/* How long a client may take for a request, and between two. */
static double request_timeout = 30;

static const char page[] = "<!DOCTYPE html>\n"
                           "<html lang=\"en\"><head><title>Portico</title></head>\n"
                           "<body><h1>Hello, and come in.</h1></body></html>\n";

typedef struct connection {
    pco_protocol protocol; /* the first member: the library's view of this struct */
    pco_transport *transport;
    pco_handle *timer;
    double since;  /* when the last request was answered */
    bool paused;   /* the client does not read its answers: make no more of them */
    bool last;     /* the server shuts down: the next answer is the last one */
    size_t body;   /* bytes of a request's body that are still to be dropped */
    size_t length; /* bytes in data */
    char data[HEAD_LIMIT];
} connection;

/* ---- Reading a head ---- */

/* What a head said. `status` is what it is answered with. */
typedef struct request {
    int status;
    int minor;       /* HTTP/1.minor */
    bool head;       /* the method is HEAD: answer without the page */
    bool keep_alive; /* the connection lives on after the answer */
    int hosts;       /* fields named Host: 1.1 wants exactly one */
    bool has_length;
    size_t body;
} request;

/* A piece of the head, not ended by a NUL. */
typedef struct slice {
    const char *data;
    size_t length;
} slice;

static bool equals(slice text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.data, word, text.length) == 0;
}

static bool begins(slice text, const char *word)
{
    return text.length >= strlen(word) && memcmp(text.data, word, strlen(word)) == 0;
}

static bool equals_in_any_case(slice text, const char *word)
{
    if (text.length != strlen(word)) {
        return false;
    }
    for (size_t i = 0; i < text.length; i++) {
        if (tolower((unsigned char)text.data[i]) != tolower((unsigned char)word[i])) {
            return false;
        }
    }
    return true;
}

/* Cuts *rest at the first `mark` and returns what stood before it; all, if there is none. */
static slice cut(slice *rest, char mark)
{
    const char *end = memchr(rest->data, mark, rest->length);
    slice before = {rest->data, end != NULL ? (size_t)(end - rest->data) : rest->length};
    size_t taken = before.length + (end != NULL);

    rest->data += taken;
    rest->length -= taken;
    return before;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static slice trim(slice text)
{
    while (text.length > 0 && is_blank(text.data[0])) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && is_blank(text.data[text.length - 1])) {
        text.length--;
    }
    return text;
}

/* No other controls belong in a head than its tabs and line ends. */
static bool is_text(slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c == 127 || (c < ' ' && c != '\t' && c != '\r' && c != '\n')) {
            return false;
        }
    }
    return true;
}

/* Takes one line off the front, without its CR LF or LF. */
static slice cut_line(slice *rest)
{
    slice line = cut(rest, '\n');

    if (line.length > 0 && line.data[line.length - 1] == '\r') {
        line.length--;
    }
    return line;
}

/* The path of "/path?query", and of "http://host/path", as one asks a proxy. */
static slice path_of(slice target)
{
    if (begins(target, "http://") || begins(target, "https://")) {
        const char *host = (const char *)memchr(target.data, ':', target.length) + 3;
        size_t length = target.length - (size_t)(host - target.data);
        const char *path = memchr(host, '/', length);

        target = (slice){"/", 1};
        if (path != NULL) {
            target = (slice){path, length - (size_t)(path - host)};
        }
    }
    return cut(&target, '?');
}

static void read_request_line(request *req, slice line)
{
    slice method = cut(&line, ' ');
    slice target = cut(&line, ' ');

    if (equals(line, "HTTP/1.1") || equals(line, "HTTP/1.0")) {
        req->minor = line.data[7] - '0';
    } else {
        req->status = begins(line, "HTTP/") ? 505 : 400;
        return;
    }

    target = path_of(target);

    req->keep_alive = req->minor == 1;
    req->head = equals(method, "HEAD");
    if (method.length == 0 || target.length == 0) {
        req->status = 400;
    } else if (!req->head && !equals(method, "GET")) {
        req->status = 405;
    } else {
        req->status = equals(target, "/") ? 200 : 404;
    }
}

static void read_content_length(request *req, slice value)
{
    size_t length = 0;

    for (size_t i = 0; i < value.length && length <= BODY_LIMIT; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            req->status = 400;
            return;
        }
        length = length * 10 + (size_t)(value.data[i] - '0');
    }
    if (value.length == 0 || (req->has_length && length != req->body)) {
        req->status = 400;
    } else if (length > BODY_LIMIT) {
        req->status = 413;
    }
    req->has_length = true;
    req->body = length;
}

static void read_field(request *req, slice line)
{
    slice value = line;
    slice name = cut(&value, ':');

    /* A name is one word, directly before its colon; a line that begins with a blank is folded. */
    if (name.length == line.length || name.length == 0 || memchr(name.data, ' ', name.length) ||
        memchr(name.data, '\t', name.length)) {
        req->status = 400;
        return;
    }
    value = trim(value);
    if (equals_in_any_case(name, "host")) {
        req->hosts++;
    } else if (equals_in_any_case(name, "content-length")) {
        read_content_length(req, value);
    } else if (equals_in_any_case(name, "transfer-encoding")) {
        req->status = 411; /* we want to know beforehand how long a body is */
    } else if (equals_in_any_case(name, "connection")) {
        while (value.length > 0) {
            slice option = trim(cut(&value, ','));
            if (equals_in_any_case(option, "close")) {
                req->keep_alive = false;
            } else if (equals_in_any_case(option, "keep-alive")) {
                req->keep_alive = true;
            }
        }
    }
}

/* Statuses after which nobody knows where the next request begins. */
static bool is_fatal(int status)
{
    return status == 400 || status == 411 || status == 413 || status == 431 || status == 505;
}

static request read_head(slice head)
{
    request req = {.status = 400};

    if (is_text(head)) {
        read_request_line(&req, cut_line(&head));
    }
    while (!is_fatal(req.status)) {
        slice line = cut_line(&head);
        if (line.length == 0) {
            break;
        }
        read_field(&req, line);
    }
    if (!is_fatal(req.status) && req.hosts != 1 && (req.minor == 1 || req.hosts > 1)) {
        req.status = 400;
    }
    if (is_fatal(req.status)) {
        req.keep_alive = false;
    }
    return req;
}

/* The length of the head that `data` begins with, its empty line included; 0: not yet complete. */
static size_t find_head(const char *data, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++) {
        if (data[i] == '\n' && data[i + 1] == '\n') {
            return i + 2;
        }
        if (data[i] == '\n' && data[i + 1] == '\r' && i + 2 < length && data[i + 2] == '\n') {
            return i + 3;
        }
    }
    return 0;
}

/* ---- Answering ---- */

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 411:
        return "Length Required";
    case 413:
        return "Content Too Large";
    case 431:
        return "Request Header Fields Too Large";
    default:
        return "HTTP Version Not Supported";
    }
}

static void answer(connection *self, const request *req)
{
    char head[512], text[64], date[64];
    time_t now = time(NULL);

    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
    int text_length = snprintf(text, sizeof text, "%d %s\n", req->status, reason(req->status));
    pco_buffer body = {text, (size_t)text_length};
    if (req->status == 200) {
        body = (pco_buffer){page, sizeof page - 1};
    }

    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %d %s\r\n"
                          "Date: %s\r\n"
                          "Content-Type: %s; charset=utf-8\r\n"
                          "Content-Length: %zu\r\n"
                          "%sConnection: %s\r\n\r\n",
                          req->status, reason(req->status), date,
                          req->status == 200 ? "text/html" : "text/plain", body.length,
                          req->status == 405 ? "Allow: GET, HEAD\r\n" : "",
                          req->keep_alive ? "keep-alive" : "close");
    pco_buffer parts[2] = {{head, (size_t)length}, body};

    /* Many small writes of one callback leave in one packet: no need to collect answers here. */
    pco_transport_writelines(self->transport, parts, req->head ? 1 : 2);
    if (!req->keep_alive) {
        pco_transport_close(self->transport);
    }
}

/* Forgets the first `count` bytes received. */
static void drop(connection *self, size_t count)
{
    self->length -= count;
    memmove(self->data, self->data + count, self->length);
}

/* Answers one request, if there is a whole one. */
static bool serve_one(connection *self)
{
    size_t skipped = self->body < self->length ? self->body : self->length;
    size_t blank = 0;

    self->body -= skipped;
    drop(self, skipped);

    /* Some clients send an empty line behind a body (RFC 9112, 2.2). */
    while (blank < self->length && (self->data[blank] == '\r' || self->data[blank] == '\n')) {
        blank++;
    }
    drop(self, blank);

    size_t length = find_head(self->data, self->length);
    if (length == 0 && self->length < sizeof self->data) {
        return false;
    }
    request req = {.status = 431};
    if (length > 0) {
        req = read_head((slice){self->data, length});
    }
    self->since = pco_loop_time(pco_transport_get_loop(self->transport));
    self->body = req.body;
    req.keep_alive = req.keep_alive && !self->last;
    drop(self, length);
    answer(self, &req);
    return true;
}

/* Stops when the client reads too slowly, and when an answer has closed the connection. */
static void serve_all(connection *self)
{
    while (!self->paused && !pco_transport_is_closing(self->transport) && serve_one(self)) {
    }
}

/* ---- The protocol ---- */

/*
 * One timer for the life of the connection, instead of a new one with each request: when it rings
 * too early, because a request has come meanwhile, it is set anew for the rest of the time.
 */
static void check_time(void *context)
{
    connection *self = context;
    pco_loop *loop = pco_transport_get_loop(self->transport);
    double due = self->since + request_timeout;

    pco_handle_release(self->timer);
    self->timer = NULL;
    if (pco_loop_time(loop) >= due ||
        pco_loop_call_at(loop, due, check_time, self, &self->timer) != 0) {
        pco_transport_close(self->transport);
    }
}

static void connection_made(pco_protocol *protocol, pco_transport *transport)
{
    connection *self = (connection *)protocol;

    self->transport = transport;
    self->since = pco_loop_time(pco_transport_get_loop(transport));
    check_time(self);
}

static void get_buffer(pco_protocol *protocol, pco_transport *transport, size_t size_hint,
                       void **buffer, size_t *length)
{
    connection *self = (connection *)protocol;

    (void)transport;
    (void)size_hint;
    *buffer = self->data + self->length;
    *length = sizeof self->data - self->length; /* never 0: a full array is answered with 431 */
}

static void buffer_updated(pco_protocol *protocol, pco_transport *transport, size_t length)
{
    connection *self = (connection *)protocol;

    (void)transport;
    self->length += length;
    serve_all(self);
}

/*
 * A client that sends requests and does not read the answers: stop reading, and leave the requests
 * that have come where they are.
 */
static void pause_writing(pco_protocol *protocol, pco_transport *transport)
{
    ((connection *)protocol)->paused = true;
    pco_transport_pause_reading(transport);
}

static void resume_writing(pco_protocol *protocol, pco_transport *transport)
{
    connection *self = (connection *)protocol;

    self->paused = false;
    serve_all(self); /* which may pause again */
    if (!self->paused) {
        pco_transport_resume_reading(transport);
    }
}

/* Who waits for the next request goes; who has begun to send one still gets its answer. */
static void shutting_down(pco_protocol *protocol, pco_transport *transport)
{
    connection *self = (connection *)protocol;

    self->last = true;
    if (self->length == 0) {
        pco_transport_close(transport);
    }
}

static void connection_lost(pco_protocol *protocol, pco_transport *transport,
                            const pco_error *error)
{
    connection *self = (connection *)protocol;

    (void)transport;
    (void)error;
    pco_handle_cancel(self->timer);
    pco_handle_release(self->timer);
    free(self);
}

static const pco_protocol_methods http_methods = {
    .size = sizeof http_methods,
    .connection_made = connection_made,
    .get_buffer = get_buffer,
    .buffer_updated = buffer_updated,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = connection_lost,
    .shutting_down = shutting_down,
};

/* Without memory for it the connection is refused, and the others go on. */
static pco_protocol *make_connection(void *context)
{
    connection *self = malloc(sizeof *self);

    (void)context;
    if (self == NULL) {
        return NULL;
    }
    memset(self, 0, offsetof(connection, data)); /* the array need not be cleared */
    self->protocol.methods = &http_methods;
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

/* Reads a number from 0 to `most`. */
static bool read_number(const char *digits, double most, double *number)
{
    char *end = NULL;

    *number = strtod(digits, &end);
    return end != digits && *end == '\0' && *number >= 0 && *number <= most;
}

static bool asks_for_help(char **argv)
{
    for (char **next = argv + 1; *next != NULL; next++) {
        if (strcmp(*next, "--help") == 0) {
            return true;
        }
    }
    return false;
}

/* Every other flag has one value, except --ssl, which has two. */
static bool read_flags(char **argv, pco_server_options *server, pco_ssl_context_options *ssl)
{
    char **next = argv + 1;
    double port = server->port;

    for (; next[0] != NULL && next[1] != NULL; next += 2) {
        const char *flag = next[0], *value = next[1];

        if (strcmp(flag, "--host") == 0) {
            server->host = value;
        } else if (strcmp(flag, "--port") == 0 && read_number(value, 65535, &port)) {
            server->port = (int)port;
        } else if (strcmp(flag, "--timeout") == 0 && read_number(value, 1e6, &request_timeout)) {
            continue;
        } else if (strcmp(flag, "--ssl") == 0 && next[2] != NULL) {
            ssl->certificate_file = value;
            ssl->key_file = next[2];
            next++;
        } else {
            return false;
        }
    }
    return *next == NULL;
}

int main(int argc, char **argv)
{
    static const char *const alpn[] = {"http/1.1"};
    pco_ssl_context_options ssl = {
        .size = sizeof ssl, .alpn_protocols = alpn, .alpn_protocols_count = 1};
    pco_server_options options = {.size = sizeof options,
                                  .protocol_factory = make_connection,
                                  .host = "127.0.0.1",
                                  .port = 8080,
                                  /* so that a body nobody wants does not destroy the 413 */
                                  .lingering_close = PCO_ON};
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_error error;

    (void)argc;
    if (asks_for_help(argv)) {
        printf("%s", USAGE);
        return EXIT_SUCCESS;
    }
    if (!read_flags(argv, &options, &ssl)) {
        fprintf(stderr, "%s", USAGE);
        return EXIT_FAILURE;
    }

    int err = pco_loop_new(NULL, &loop, &error);
    if (err == 0 && ssl.certificate_file != NULL) {
        err = pco_ssl_context_new(&ssl, &options.ssl, &error);
    }
    if (err == 0) {
        err = pco_loop_create_server(loop, &options, &server, &error);
    }
    if (err == 0) {
        pco_loop_call_soon(loop, print_addresses, server, NULL);
        err = pco_server_serve_until_signal(server, 5, &error);
    }
    if (err != 0) {
        fprintf(stderr, "hello_http: %s\n", error.message);
    }

    pco_server_free(server);
    pco_ssl_context_release(options.ssl);
    pco_loop_free(loop);
    return err == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
