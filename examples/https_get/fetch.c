/* SPDX-License-Identifier: MIT */
#include "fetch.h"

#include "codes.h"
#include "progress.h"
#include "request.h"
#include "response.h"
#include "session.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define PROGRESS_EVERY 0.2 /* seconds */
#define CLOSE_TIME 2.0     /* seconds for goodbyes, when all is there */

/* When something was done; 0: not yet. By the loop's clock. */
typedef struct times {
    double began;
    double resolved;  /* the first attempt to connect begins */
    double connected; /* with TLS, the handshake begins */
    double asked;     /* the connection is there, and the request written */
    double answered;  /* the first byte has come */
} times;

typedef struct fetching {
    pco_protocol protocol; /* the first member: the library's view of this struct */
    const fetch_settings *set;
    pco_loop *loop;
    url where; /* of the request that is under way */
    int redirects;
    int stage; /* PCO_CONNECTION_* */
    pco_request *connecting;
    pco_transport *transport;
    response response;
    times times;
    bool resumed; /* a session of TLS */

    bool ended; /* how it ends is known: what comes after is of no interest */
    bool has_next;
    url next; /* where the redirect leads */

    FILE *output;
    bool bar;
    double body_began;
    uint64_t received; /* bytes of the body */
    int code;
} fetching;

static void begin(fetching *self);

/* ---- How it ends ---- */

/* The first one counts: what goes wrong after that is its consequence. */
static void end(fetching *self, int code)
{
    if (self->ended) {
        return;
    }
    self->ended = true;
    self->code = code;
    pco_request_cancel(self->connecting);
    if (self->transport != NULL && code == FINE) {
        pco_transport_close(self->transport);
    } else if (self->transport != NULL) {
        pco_transport_abort(self->transport);
    }
}

static void end_because(fetching *self, int code, const char *format, ...)
{
    va_list arguments;

    if (self->ended) {
        return;
    }
    if (self->bar) {
        progress_end();
        self->bar = false;
    }
    va_start(arguments, format);
    fprintf(stderr, "https_get: (%d) ", code);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    end(self, code);
}

static void out_of_time(void *context)
{
    fetching *self = context;

    if (self->has_next) { /* between two requests: there will be no other */
        self->has_next = false;
        self->ended = false;
    }
    end_because(self, TIMED_OUT, "it was not there after %g seconds", self->set->max_time);
}

/* ---- The parts of the time ---- */

static void print_part(const char *name, double from, double to)
{
    if (from > 0 && to > 0) {
        fprintf(stderr, "%s %.1f ms, ", name, (to - from) * 1000);
    }
}

static void print_times(const fetching *self)
{
    const times *when = &self->times;
    char text[256];

    url_format(&self->where, text, sizeof text);
    fprintf(stderr, "%s: ", text);
    print_part("name", when->began, when->resolved);
    print_part("connect", when->resolved, when->connected);
    if (self->where.secure) {
        print_part(self->resumed ? "TLS resumed" : "TLS", when->connected, when->asked);
    }
    print_part("first byte", when->asked, when->answered);
    fprintf(stderr, "total %.1f ms\n", (pco_loop_time(self->loop) - when->began) * 1000);
}

/* ---- The body ---- */

static void draw_progress(const fetching *self)
{
    double seconds = pco_loop_time(self->loop) - self->body_began;

    progress_draw(self->received, self->response.length, seconds);
}

static void show_progress(void *context)
{
    fetching *self = context;

    if (self->bar) {
        draw_progress(self);
        pco_loop_call_later(self->loop, PROGRESS_EVERY, show_progress, self, NULL);
    }
}

static void begin_body(fetching *self)
{
    const char *name = self->set->output;

    self->output = name != NULL ? fopen(name, "wb") : stdout;
    if (self->output == NULL) {
        end_because(self, CANNOT_WRITE, "%s cannot be written", name);
        return;
    }
    self->body_began = pco_loop_time(self->loop);
    self->bar = progress_has_place(name == NULL);
    show_progress(self);
}

/*
 * A disk that is slow holds up the loop, which has nothing else to do: then nothing is received,
 * and TCP slows the server down.
 */
static void write_body(fetching *self, const char *data, size_t length)
{
    self->received += length;
    if (fwrite(data, 1, length, self->output) < length) {
        end_because(self, CANNOT_WRITE, "the body cannot be written");
    }
}

/* What the C library still holds may turn out to have no place, too. */
static void end_body(fetching *self)
{
    bool failed = fflush(self->output) != 0;

    if (self->output != stdout) {
        failed = fclose(self->output) != 0 || failed;
    }
    if (failed && self->code == FINE) {
        self->ended = false;
        end_because(self, CANNOT_WRITE, "the body cannot be written");
    }
}

/* ---- The answer ---- */

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Nothing of this answer is wanted but where it leads. */
static void redirect(fetching *self)
{
    const char *why = NULL;
    int code = url_resolve(&self->where, self->response.location, &self->next, &why);

    if (code != FINE) {
        end_because(self, code, "redirect to %.200s: %s", self->response.location, why);
    } else if (self->redirects >= self->set->max_redirects) {
        end_because(self, TOO_MANY_REDIRECTS, "more than %g redirects", self->set->max_redirects);
    } else if (self->where.secure && !self->next.secure && !self->set->plain_redirects) {
        end_because(self, UNKNOWN_PROTOCOL,
                    "a redirect leads from https to http; --plain-redirects allows that");
    } else {
        self->has_next = true;
        end(self, FINE);
    }
}

static void head_read(fetching *self)
{
    const response *head = &self->response;

    if (is_redirect(head->status) && head->has_location) {
        redirect(self);
    } else if (head->status >= 400 && self->set->fail) {
        end_because(self, REFUSED_BY_SERVER, "the server answers with %d", head->status);
    } else {
        begin_body(self);
    }
}

static void data_received(pco_protocol *protocol, pco_transport *transport, const void *data,
                          size_t length)
{
    fetching *self = (fetching *)protocol;
    const char *rest = data, *body = NULL;
    size_t body_length = 0;

    (void)transport;
    if (self->times.answered == 0) {
        self->times.answered = pco_loop_time(self->loop);
    }
    while (!self->ended) {
        switch (response_read(&self->response, &rest, &length, &body, &body_length)) {
        case RESPONSE_HEAD:
            head_read(self);
            break;
        case RESPONSE_BODY:
            write_body(self, body, body_length);
            break;
        case RESPONSE_END:
            end(self, FINE);
            break;
        case RESPONSE_BAD:
            end_because(self, STRANGE_ANSWER, "the answer cannot be read: %s", self->response.why);
            break;
        default:
            return;
        }
    }
}

/* ---- The connection ---- */

static void connection_made(pco_protocol *protocol, pco_transport *transport)
{
    fetching *self = (fetching *)protocol;
    bool is_ours = url_same_origin(&self->where, &self->set->where);
    pco_ssl_info info = {.size = sizeof info};

    self->transport = transport;
    self->resumed = pco_transport_get_ssl_info(transport, &info) == 0 && info.session_reused;
    self->times.asked = pco_loop_time(self->loop);
    if (!self->where.secure) {
        self->times.connected = self->times.asked;
    }
    request_write(transport, &self->where, is_ours ? self->set->where.user : "", self->set->fields,
                  is_ours ? self->set->fields_count : 0);
}

/*
 * A connection that ended before the answer did. With TLS a clean end is one that the server has
 * announced (close_notify): without it anybody on the way may have cut the answer short, which is
 * an error even where the end of the connection is the end of the body.
 */
static void cut_short(fetching *self, const pco_error *error)
{
    if (error != NULL && response_in_body(&self->response)) {
        end_because(self, error->code == PCO_ECONNRESET ? CONNECTION_LOST : PARTIAL_BODY,
                    "the body is cut short after %" PRIu64 " bytes: %s", self->received,
                    error->message);
    } else if (error != NULL) {
        end_because(self, CONNECTION_LOST, "no answer: %s", error->message);
    } else if (response_may_end(&self->response)) {
        end(self, FINE);
    } else if (response_in_body(&self->response)) {
        end_because(self, PARTIAL_BODY, "the body is cut short after %" PRIu64 " bytes",
                    self->received);
    } else if (response_is_empty(&self->response)) {
        end_because(self, NO_ANSWER, "the server has ended the connection and said nothing");
    } else {
        end_because(self, CONNECTION_LOST, "the answer ends in the middle of its head");
    }
}

static void connection_lost(pco_protocol *protocol, pco_transport *transport,
                            const pco_error *error)
{
    fetching *self = (fetching *)protocol;

    self->transport = NULL;
    cut_short(self, error);
    if (self->set->session != NULL && !session_write(self->set->session, transport)) {
        fprintf(stderr, "https_get: %s cannot be written\n", self->set->session);
    }
    if (self->set->timing) {
        print_times(self);
    }
    if (self->has_next) {
        self->redirects++;
        self->where = self->next;
        begin(self);
    } else {
        pco_loop_stop(self->loop);
    }
}

/* What is left out does what is usual: at the server's end, close. */
static const pco_protocol_methods methods = {
    .size = sizeof methods,
    .connection_made = connection_made,
    .data_received = data_received,
    .connection_lost = connection_lost,
};

/* ---- Connecting ---- */

static void progressed(int stage, const pco_address *address, const pco_error *error, void *context)
{
    fetching *self = context;
    double now = pco_loop_time(self->loop);

    (void)address;
    (void)error;
    if (stage == PCO_CONNECTION_CONNECTING && self->times.resolved == 0) {
        self->times.resolved = now;
    } else if (stage == PCO_CONNECTION_HANDSHAKE) {
        self->times.connected = now;
    }
    if (stage != PCO_CONNECTION_FAILED) {
        self->stage = stage;
    }
}

static int code_of(const pco_error *error, int stage)
{
    switch (error->code) {
    case PCO_ENONAME:
    case PCO_ERESOLVE:
        return NO_SUCH_HOST;
    case PCO_ETIMEDOUT:
        return TIMED_OUT;
    case PCO_ECERT:
        return BAD_CERTIFICATE;
    case PCO_ENOTSUP:
        return UNKNOWN_PROTOCOL; /* https, and the library was built without TLS */
    case PCO_ENOMEM:
        return NO_MEMORY;
    default:
        return stage == PCO_CONNECTION_HANDSHAKE ? TLS_FAILED : CANNOT_CONNECT;
    }
}

/* Called once in any case, also if it was canceled. */
static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    fetching *self = context;

    (void)protocol;
    pco_request_release(self->connecting);
    self->connecting = NULL;
    if (transport == NULL) {
        end_because(self, code_of(error, self->stage), "%s", error->message);
        pco_loop_stop(self->loop);
    }
}

/* A session of another host is refused: then there is a full handshake, which makes another. */
static int connect_by(fetching *self, pco_connection_options *options, pco_error *error)
{
    pco_ssl_session *session = NULL;
    int err = PCO_EINVAL;

    if (self->where.secure) {
        options->ssl = self->set->ssl;
        options->tls = self->set->ssl == NULL ? PCO_ON : PCO_DEFAULT;
        options->ssl_shutdown_timeout = CLOSE_TIME;
        if (self->set->session != NULL) {
            session = session_read(self->set->session, self->set->ssl);
        }
    }
    if (session != NULL) {
        options->ssl_session = session;
        err = pco_loop_create_connection(self->loop, options, connected, self, &self->connecting,
                                         error);
        options->ssl_session = NULL;
        pco_ssl_session_release(session);
    }
    if (err == PCO_EINVAL) {
        err = pco_loop_create_connection(self->loop, options, connected, self, &self->connecting,
                                         error);
    }
    return err;
}

static void begin(fetching *self)
{
    pco_connection_options options = {
        .size = sizeof options,
        .protocol = &self->protocol,
        .context = self,
        .host = self->where.host,
        .port = self->where.port,
        .connect_timeout = self->set->connect_timeout,
        .close_timeout = CLOSE_TIME,
        .keep_alive = PCO_ON, /* a server that has vanished is noticed, though nothing is sent */
        .progress = progressed,
    };
    pco_error error;

    self->ended = false;
    self->has_next = false;
    self->stage = PCO_CONNECTION_RESOLVING;
    self->times = (times){.began = pco_loop_time(self->loop)};
    response_init(&self->response);
    if (connect_by(self, &options, &error) != 0) {
        end_because(self, code_of(&error, self->stage), "%s", error.message);
        pco_loop_stop(self->loop);
    }
}

static void start(void *context)
{
    begin(context);
}

int fetch(pco_loop *loop, const fetch_settings *settings)
{
    static fetching self; /* too large for some stacks */

    self = (fetching){.protocol = {&methods}, .set = settings, .loop = loop};
    self.where = settings->where;
    pco_loop_call_soon(loop, start, &self, NULL);
    if (settings->max_time > 0) {
        pco_loop_call_later(loop, settings->max_time, out_of_time, &self, NULL);
    }
    pco_loop_run_forever(loop);

    if (self.bar) {
        draw_progress(&self);
        progress_end();
    }
    if (self.output != NULL) {
        end_body(&self);
    }
    return self.code;
}
