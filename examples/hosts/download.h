/* SPDX-License-Identifier: MIT */
/*
 * download.h: a GET of HTTP or HTTPS with progress, which may be canceled: what the programs of
 * this folder do with the network. It knows no window. It is called on the loop's thread, from
 * callbacks of the library as well as from those of the host.
 *
 * Addresses and answers are read by what https_get has for them; redirects are not followed.
 */
#ifndef HOSTS_DOWNLOAD_H
#define HOSTS_DOWNLOAD_H

#include <portico.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { DOWNLOAD_START_SIZE = 2048, DOWNLOAD_LINE_SIZE = 320 };

typedef struct download download;

/* How it ended. All of it is lent. */
typedef struct download_end {
    const char *error; /* NULL: all is there */
    int status;        /* what the server said, 200 for instance; 0: nothing */
    uint64_t received; /* bytes of the body */
    const char *start; /* of the body: as much as is text, and fits */
} download_end;

/*
 * `progressed` is told how much of the body is there, of how many bytes (-1: nobody knows). `ended`
 * is called once, and then the download is freed: never inside of download_begin or _cancel, but at
 * the latest inside of pco_loop_free.
 */
typedef struct download_listener {
    void (*progressed)(uint64_t received, int64_t length, void *context);
    void (*ended)(const download_end *end, void *context);
    void *context;
} download_listener;

/* Begins one; "host:port/path" is one of HTTP. NULL: it cannot begin, and *error says why. */
download *download_begin(pco_loop *loop, const char *address, const download_listener *listener,
                         pco_error *error);

/* It ends soon, and `ended` hears of it. */
void download_cancel(download *self);

/* "200: 4711 bytes", or why not: a line for people. */
void download_describe(const download_end *end, char line[DOWNLOAD_LINE_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
