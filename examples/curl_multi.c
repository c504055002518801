/* SPDX-License-Identifier: MIT */
/*
 * curl_multi.c: downloads any number of URLs at once by libcurl, whose sockets and time the loop
 * watches.
 *
 *     curl_multi https://www.example.org/ https://www.example.com/
 *
 * The hard idea: libcurl's multi interface has no loop. It says by one callback which of its
 * sockets it waits for, and in which direction, and by another when it wants to be called though
 * nothing has come. In return it wants to hear of both: curl_multi_socket_action is all that drives
 * it. CURL_POLL_REMOVE comes before libcurl closes a socket, and when it keeps one for later, which
 * nobody watches then.
 *
 * It prints a line for each transfer as it ends: its number on the command line, HTTP's status,
 * how many bytes came, the URL; or what went wrong. Built where libcurl is found (Debian:
 * libcurl4-openssl-dev).
 */
#include <portico.h>

#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE                                                                                      \
    "usage: curl_multi URL...\n"                                                                   \
    "exit code: 0, all have come; 1, not all of them; 2, a mistake on the command line\n"

enum { FINE = 0, FAILED = 1, USAGE_ERROR = 2 };

/* One download. */
typedef struct transfer {
    CURL *easy;
    int number;
    const char *url;
    size_t length;
    char why[CURL_ERROR_SIZE];
} transfer;

/* What a socket's callbacks are given: libcurl keeps it with the socket. */
typedef struct watched {
    curl_socket_t sock;
} watched;

static pco_loop *loop;
static CURLM *multi;
static pco_handle *timer; /* NULL: libcurl waits for nothing but sockets */
static unsigned left;
static bool failed;

static void complain(const char *what, const char *why)
{
    fprintf(stderr, "curl_multi: %s: %s\n", what, why);
    failed = true;
}

/* ---- What has ended ---- */

static void finish(transfer *self, CURLcode code)
{
    long status = 0;
    if (code == CURLE_OK) {
        curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &status);
        printf("%d: %ld, %lu bytes of %s\n", self->number, status, (unsigned long)self->length,
               self->url);
    } else {
        printf("%d: %s\n", self->number,
               self->why[0] != '\0' ? self->why : curl_easy_strerror(code));
        failed = true;
    }
    fflush(stdout);
    curl_multi_remove_handle(multi, self->easy);
    curl_easy_cleanup(self->easy);
    self->easy = NULL;
    if (--left == 0) {
        pco_loop_stop(loop);
    }
}

static void collect(void)
{
    CURLMsg *message;
    int behind;
    while ((message = curl_multi_info_read(multi, &behind)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            CURLcode code = message->data.result; /* the message goes with its handle */
            transfer *self = NULL;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&self);
            finish(self, code);
        }
    }
}

/* Tells libcurl what has happened. It may add, remove and close sockets meanwhile. */
static void act(curl_socket_t sock, int what)
{
    int running;
    CURLMcode code = curl_multi_socket_action(multi, sock, what, &running);
    if (code != CURLM_OK) {
        complain("libcurl", curl_multi_strerror(code));
        pco_loop_stop(loop);
        return;
    }
    collect();
}

/* ---- Sockets ---- */

static void readable(void *context)
{
    act(((watched *)context)->sock, CURL_CSELECT_IN);
}

static void writable(void *context)
{
    act(((watched *)context)->sock, CURL_CSELECT_OUT);
}

/* Adds what is wanted and removes the rest: to add what is there is no harm, nor the reverse. */
static int watch(watched *self, int what)
{
    pco_socket sock = (pco_socket)self->sock;
    pco_error error;
    int code = 0;
    if ((what & CURL_POLL_IN) != 0) {
        code = pco_loop_add_reader(loop, sock, readable, self, &error);
    } else {
        pco_loop_remove_reader(loop, sock);
    }
    if (code == 0 && (what & CURL_POLL_OUT) != 0) {
        code = pco_loop_add_writer(loop, sock, writable, self, &error);
    } else {
        pco_loop_remove_writer(loop, sock);
    }
    if (code != 0) {
        complain("a socket of libcurl", error.message);
    }
    return code;
}

/* libcurl: a socket is to be watched from now on, otherwise than before, or no more. */
static int socket_wanted(CURL *easy, curl_socket_t sock, int what, void *context, void *known)
{
    watched *self = known;
    (void)easy;
    (void)context;
    if (what == CURL_POLL_REMOVE) {
        if (self != NULL) {
            watch(self, 0);
            free(self);
        }
        return 0;
    }
    if (self == NULL) {
        self = calloc(1, sizeof *self);
        if (self == NULL) {
            return -1;
        }
        self->sock = sock;
        curl_multi_assign(multi, sock, self);
    }
    return watch(self, what) == 0 ? 0 : -1;
}

/* ---- Time ---- */

static void stop_timer(void)
{
    if (timer != NULL) {
        pco_handle_cancel(timer);
        pco_handle_release(timer);
        timer = NULL;
    }
}

static void time_has_come(void *context)
{
    (void)context;
    stop_timer();
    act(CURL_SOCKET_TIMEOUT, 0);
}

/* libcurl: it wants to be called after so many milliseconds; -1: not at all. Not from in here. */
static int time_wanted(CURLM *of, long milliseconds, void *context)
{
    (void)of;
    (void)context;
    stop_timer();
    if (milliseconds < 0) {
        return 0;
    }
    int code = pco_loop_call_later(loop, (double)milliseconds / 1000, time_has_come, NULL, &timer);
    if (code != 0) {
        complain("a timer", pco_strerror(code));
    }
    return code == 0 ? 0 : -1;
}

/* ---- The transfers ---- */

static size_t received(char *data, size_t size, size_t count, void *context)
{
    (void)data;
    ((transfer *)context)->length += size * count;
    return size * count;
}

static bool start(transfer *self)
{
    self->easy = curl_easy_init();
    if (self->easy == NULL) {
        return false;
    }
    curl_easy_setopt(self->easy, CURLOPT_URL, self->url);
    curl_easy_setopt(self->easy, CURLOPT_WRITEFUNCTION, received);
    curl_easy_setopt(self->easy, CURLOPT_WRITEDATA, self);
    curl_easy_setopt(self->easy, CURLOPT_PRIVATE, self);
    curl_easy_setopt(self->easy, CURLOPT_ERRORBUFFER, self->why);
    curl_easy_setopt(self->easy, CURLOPT_NOSIGNAL, 1L);
    if (curl_multi_add_handle(multi, self->easy) != CURLM_OK) {
        curl_easy_cleanup(self->easy);
        return false;
    }
    left++;
    return true;
}

static bool open_multi(void)
{
    multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
    if (multi == NULL) {
        return false;
    }
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, time_wanted);
    return true;
}

int main(int argc, char **argv)
{
    pco_error error;
    if (argc < 2 || argv[1][0] == '-') {
        fputs(USAGE, stderr);
        return USAGE_ERROR;
    }
    transfer *transfers = calloc((size_t)argc - 1, sizeof *transfers);
    if (transfers == NULL || pco_loop_new(NULL, &loop, &error) != 0) {
        complain("the loop", transfers == NULL ? "out of memory" : error.message);
        free(transfers);
        return FAILED;
    }
    if (!open_multi()) {
        complain("libcurl", "it does not start");
    }
    for (int i = 0; multi != NULL && i < argc - 1; i++) {
        transfers[i].number = i + 1;
        transfers[i].url = argv[i + 1];
        if (!start(&transfers[i])) {
            complain(transfers[i].url, "cannot be started");
        }
    }
    if (left > 0) {
        pco_loop_run_forever(loop);
    }
    for (int i = 0; i < argc - 1; i++) {
        if (transfers[i].easy != NULL) {
            curl_multi_remove_handle(multi, transfers[i].easy);
            curl_easy_cleanup(transfers[i].easy);
        }
    }
    curl_multi_cleanup(multi); /* closes what it has kept open, and says so */
    curl_global_cleanup();
    stop_timer();
    pco_loop_free(loop);
    free(transfers);
    return failed ? FAILED : FINE;
}
