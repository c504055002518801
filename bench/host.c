/* SPDX-License-Identifier: MIT */
/*
 * host.c: how long a flood keeps the host of a loop from its own work. Prints one line of JSON: of
 * the times between two ticks of the host, in milliseconds, the longest, the 99th percentile and
 * the median; how many there were, and the seconds that the flood took.
 *
 *   host CONNECTIONS MESSAGES NANOSECONDS BUDGET
 *
 * So many messages of 64 bytes, spread over the connections, have arrived when the host comes to
 * its loop; handling one takes so long. BUDGET is that of a turn, in seconds: 0 is the default, inf
 * is none. The host does what window systems do: it takes a posted message, if there is one, before
 * it looks at anything else, and ticks after each.
 */
#define _GNU_SOURCE 1

#include <portico.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, CONNECTIONS_LIMIT = 10000, TICKS_LIMIT = 1000000 };

typedef struct receiver {
    pco_protocol protocol;
    size_t partial; /* bytes of a message that is not whole yet */
} receiver;

static size_t connections;
static size_t messages;
static double work; /* nanoseconds */
static receiver *receivers;
static size_t made;
static size_t handled;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static bool is_posted;

static double gaps[TICKS_LIMIT];
static size_t ticks;

static void give_up(const char *why)
{
    perror(why);
    exit(EXIT_FAILURE);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* ---- The flood, in a process of its own ---- */

static void wait_for(int pipe)
{
    char byte;

    if (read(pipe, &byte, 1) != 1) {
        give_up("read");
    }
}

static void tell(int pipe)
{
    if (write(pipe, "x", 1) != 1) {
        give_up("write");
    }
}

static void flood(int port, int from_host, int to_host)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    size_t size = messages / connections * MESSAGE;
    unsigned char *data = calloc(1, size);
    int *socks = calloc(connections, sizeof *socks);

    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < connections; i++) {
        socks[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(socks[i], (struct sockaddr *)&address, sizeof address) != 0) {
            give_up("connect");
        }
    }
    wait_for(from_host);
    for (size_t i = 0; i < connections; i++) {
        if (send(socks[i], data, size, 0) != (ssize_t)size) {
            give_up("send");
        }
    }
    tell(to_host);
    wait_for(from_host);
    _exit(EXIT_SUCCESS);
}

/* ---- The loop ---- */

static void handle_message(void)
{
    double end = now() + work;

    while (now() < end) {
    }
    handled++;
}

static void data_received(pco_protocol *protocol, pco_transport *transport, const void *data,
                          size_t length)
{
    receiver *self = (receiver *)protocol;

    (void)transport;
    (void)data;
    self->partial += length;
    for (; self->partial >= MESSAGE; self->partial -= MESSAGE) {
        handle_message();
    }
}

static const pco_protocol_methods methods = {.size = sizeof methods,
                                             .data_received = data_received};

static pco_protocol *make_receiver(void *context)
{
    (void)context;
    receivers[made].protocol.methods = &methods;
    return &receivers[made++].protocol;
}

/* ---- The host ---- */

static void wake_up(void *context)
{
    (void)context;
    pthread_mutex_lock(&mutex);
    is_posted = true;
    pthread_cond_signal(&condition);
    pthread_mutex_unlock(&mutex);
}

static void wait_for_a_message(void)
{
    pthread_mutex_lock(&mutex);
    while (!is_posted) {
        pthread_cond_wait(&condition, &mutex);
    }
    is_posted = false;
    pthread_mutex_unlock(&mutex);
}

static void live(pco_loop *loop, const size_t *count, size_t goal, bool ticking)
{
    double last = now();

    while (*count < goal) {
        wait_for_a_message();
        pco_loop_run_once(loop, 0);
        double time = now();
        if (ticking && ticks < TICKS_LIMIT) {
            gaps[ticks++] = (time - last) / 1e6;
        }
        last = time;
    }
}

static int compare(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;

    return difference < 0 ? -1 : difference > 0;
}

static void report(double seconds)
{
    qsort(gaps, ticks, sizeof gaps[0], compare);
    printf("{\"longest_ms\": %.2f, \"p99_ms\": %.2f, \"median_ms\": %.3f, \"ticks\": %zu, "
           "\"seconds\": %.3f}\n",
           gaps[ticks - 1], gaps[ticks * 99 / 100], gaps[ticks / 2], ticks, seconds);
}

static void read_arguments(int count, char **arguments)
{
    struct rlimit files;

    if (count != 5) {
        fprintf(stderr, "usage: host CONNECTIONS MESSAGES NANOSECONDS BUDGET\n");
        exit(EXIT_FAILURE);
    }
    connections = strtoul(arguments[1], NULL, 10);
    messages = strtoul(arguments[2], NULL, 10);
    work = strtod(arguments[3], NULL);
    receivers = calloc(CONNECTIONS_LIMIT, sizeof *receivers);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (connections == 0 || connections > CONNECTIONS_LIMIT || messages < connections) {
        give_up("host: arguments");
    }
}

int main(int count, char **arguments)
{
    pco_server_options options = {.size = sizeof options,
                                  .protocol_factory = make_receiver,
                                  .host = "127.0.0.1",
                                  .backlog = CONNECTIONS_LIMIT};
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_address address;
    int to_flood[2];
    int to_host[2];

    read_arguments(count, arguments);
    if (pipe(to_flood) != 0 || pipe(to_host) != 0 || pco_loop_new(NULL, &loop, NULL) != 0 ||
        pco_loop_create_server(loop, &options, &server, NULL) != 0 ||
        pco_server_get_sockname(server, 0, &address) != 0 ||
        pco_loop_set_turn_budget(loop, strtod(arguments[4], NULL)) != 0) {
        give_up("host");
    }
    pid_t child = fork();
    if (child == 0) {
        flood(pco_address_port(&address), to_flood[0], to_host[1]);
    }
    pco_loop_host(loop, wake_up, NULL, NULL);
    live(loop, &made, connections, false);
    tell(to_flood[1]);
    wait_for(to_host[0]); /* meanwhile the host does something else */
    double began = now();
    live(loop, &handled, messages / connections * connections, true);
    report((now() - began) / 1e9);
    tell(to_flood[1]);
    waitpid(child, NULL, 0);
    pco_server_free(server);
    pco_loop_free(loop);
    free(receivers);
    return EXIT_SUCCESS;
}
