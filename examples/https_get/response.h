/* SPDX-License-Identifier: MIT */
/*
 * response.h: reads the answer to a GET, HTTP/1.0 or 1.1 (RFC 9112), from pieces of any size.
 *
 * It is strict: an answer whose end is not known for certain is refused. Limits: a line has 8190
 * bytes, the head 64 KiB in all; of transfer codings there is chunked alone; lines are not folded;
 * trailers are read and dropped. Compressed bodies are the caller's matter, who has not asked for
 * them.
 */
#ifndef HTTPS_GET_RESPONSE_H
#define HTTPS_GET_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RESPONSE_LINE_LIMIT = 8190, RESPONSE_HEAD_LIMIT = 65536 };

typedef struct response {
    /* What the head says, once RESPONSE_HEAD was told. */
    int status;
    int64_t length; /* of the body; -1: it is not known */
    char location[RESPONSE_LINE_LIMIT + 1];

    /* Why it was RESPONSE_BAD. */
    const char *why;

    /* The reader's own. */
    int state;
    int minor;         /* HTTP/1.minor */
    bool has_location; /* and just one */
    bool chunked;
    uint64_t left; /* bytes of the body, or of the chunk */
    size_t head;   /* bytes of the head, or of the trailers, so far */
    size_t used;   /* bytes in `line` */
    char line[RESPONSE_LINE_LIMIT + 2];
} response;

enum {
    RESPONSE_MORE, /* all was taken, and more is needed */
    RESPONSE_HEAD, /* the head is complete */
    RESPONSE_BODY, /* *body and *body_length are the next piece of it, inside of what was given */
    RESPONSE_END,  /* the answer is complete; what follows it is no part of it */
    RESPONSE_BAD   /* it cannot be read */
};

void response_init(response *self);

/*
 * Reads on: moves *data and *length behind what it has taken, and says what that was. To be called
 * until it says RESPONSE_MORE, RESPONSE_END or RESPONSE_BAD.
 */
int response_read(response *self, const char **data, size_t *length, const char **body,
                  size_t *body_length);

/* Whether the connection may end here. */
bool response_may_end(const response *self);

/* Whether nothing has come at all; and whether it is the body that comes now. */
bool response_is_empty(const response *self);
bool response_in_body(const response *self);

#endif
