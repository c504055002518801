/* SPDX-License-Identifier: MIT */
/*
 * abandon.c: what one client of a TLS server notices of a crowd that begins handshakes and leaves.
 * Prints one line of JSON: the median and the 99th percentile of its round trips of 64 bytes, in
 * microseconds, alone and with the crowd, how often the crowd came, and the ratio of the medians.
 *
 *   abandon PORT CLIENTS SECONDS
 *
 * The server echoes, on 127.0.0.1. Each client of the crowd connects, sends a ClientHello, and when
 * the server's answer begins it leaves with a reset, and comes again. The crowd is a process of its
 * own, with one CPU if there are two, where the measuring client is, too: the server has the other.
 */
#define _GNU_SOURCE 1

#include "histogram.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, CLIENTS_LIMIT = 20000 };

static struct sockaddr_in address = {.sin_family = AF_INET};
static unsigned char hello[2048];
static int hello_length;
static SSL_CTX *ctx;

static void give_up(const char *why)
{
    perror(why);
    exit(EXIT_FAILURE);
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* The bytes with which OpenSSL begins. */
static void make_hello(void)
{
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());

    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    hello_length = BIO_read(out, hello, sizeof hello);
    SSL_free(ssl);
    if (hello_length <= 0) {
        give_up("ClientHello");
    }
}

/* ---- The crowd ---- */

static void come(int epoll)
{
    struct linger reset = {.l_onoff = 1};
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct epoll_event event = {.events = EPOLLOUT, .data.fd = sock};

    if (sock < 0) {
        give_up("socket");
    }
    setsockopt(sock, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    connect(sock, (const struct sockaddr *)&address, sizeof address);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, sock, &event) != 0) {
        give_up("epoll_ctl");
    }
}

/* Sends what it has to say, or leaves and comes again. */
static void go_on(int epoll, const struct epoll_event *event, uint64_t *comings)
{
    struct epoll_event answer = {.events = EPOLLIN, .data.fd = event->data.fd};

    if (event->events == EPOLLOUT &&
        send(event->data.fd, hello, (size_t)hello_length, MSG_NOSIGNAL) == hello_length) {
        epoll_ctl(epoll, EPOLL_CTL_MOD, event->data.fd, &answer);
        return;
    }
    close(event->data.fd);
    (*comings)++;
    come(epoll);
}

static void be_a_crowd(int clients, uint64_t *comings)
{
    int epoll = epoll_create1(0);

    for (int i = 0; i < clients; i++) {
        come(epoll);
    }
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, 1000);

        for (int i = 0; i < count; i++) {
            go_on(epoll, &events[i], comings);
        }
    }
}

/* ---- The one client ---- */

static SSL *connect_one(void)
{
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl = SSL_new(ctx);

    if (connect(sock, (const struct sockaddr *)&address, sizeof address) != 0) {
        give_up("connect");
    }
    SSL_set_fd(ssl, sock);
    if (SSL_connect(ssl) != 1) {
        give_up("handshake");
    }
    return ssl;
}

/* A round trip a millisecond. */
static void measure(SSL *ssl, double seconds, histogram *times)
{
    uint64_t end = now() + (uint64_t)(seconds * 1e9);
    char message[MESSAGE] = "a message";

    memset(times, 0, sizeof *times);
    while (now() < end) {
        struct timespec pause = {.tv_nsec = 1000000};
        uint64_t began = now();

        if (SSL_write(ssl, message, MESSAGE) != MESSAGE) {
            give_up("write");
        }
        for (int got = 0; got < MESSAGE;) {
            int length = SSL_read(ssl, message, MESSAGE - got);
            if (length <= 0) {
                give_up("read");
            }
            got += length;
        }
        histogram_add(times, now() - began);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
}

static double microseconds(const histogram *times, double part)
{
    return histogram_percentile(times, part) / 1000;
}

int main(int argc, char **argv)
{
    static histogram alone;
    static histogram crowded;
    uint64_t *comings;

    if (argc != 4 || atoi(argv[2]) <= 0 || atoi(argv[2]) > CLIENTS_LIMIT) {
        fprintf(stderr, "usage: abandon PORT CLIENTS SECONDS\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ctx = SSL_CTX_new(TLS_client_method());
    make_hello();
    comings =
        mmap(NULL, sizeof *comings, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    SSL *ssl = connect_one();
    measure(ssl, atof(argv[3]), &alone);
    pid_t crowd = fork();
    if (crowd == 0) {
        be_a_crowd(atoi(argv[2]), comings);
    }
    measure(ssl, 1, &crowded); /* while it gathers */
    measure(ssl, atof(argv[3]), &crowded);
    kill(crowd, SIGKILL);
    waitpid(crowd, NULL, 0);
    printf("{\"alone\": [%.1f, %.1f], \"crowded\": [%.1f, %.1f], \"comings\": %llu, "
           "\"ratio\": %.2f}\n",
           microseconds(&alone, 0.5), microseconds(&alone, 0.99), microseconds(&crowded, 0.5),
           microseconds(&crowded, 0.99), (unsigned long long)*comings,
           microseconds(&crowded, 0.5) / microseconds(&alone, 0.5));
    return 0;
}
