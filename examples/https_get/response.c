/* SPDX-License-Identifier: MIT */
#include "response.h"

#include <ctype.h>
#include <string.h>

/* What comes next. */
enum {
    STATUS_LINE,
    FIELD,
    KNOWN_LENGTH, /* `left` bytes of the body */
    UNTIL_END,    /* of the connection */
    CHUNK_SIZE,
    CHUNK,     /* `left` bytes of it */
    CHUNK_END, /* an empty line */
    TRAILER,
    COMPLETE,
    BAD
};

void response_init(response *self)
{
    *self = (response){.length = -1, .state = STATUS_LINE};
}

static int bad(response *self, const char *why)
{
    self->state = BAD;
    self->why = why;
    return RESPONSE_BAD;
}

/* ---- Lines ---- */

/* Takes input up to the end of a line: whether `line` is one now, without CR LF, ended by a NUL. */
static bool take_line(response *self, const char **data, size_t *length)
{
    const char *end = memchr(*data, '\n', *length);
    size_t taken = end != NULL ? (size_t)(end - *data) + 1 : *length;

    self->head += taken;
    if (self->used + taken > sizeof self->line || self->head > RESPONSE_HEAD_LIMIT) {
        bad(self, "it has a line, or a head, that is too long");
        return false;
    }
    memcpy(self->line + self->used, *data, taken);
    self->used += taken;
    *data += taken;
    *length -= taken;
    if (end == NULL) {
        return false;
    }

    self->used--;
    if (self->used > 0 && self->line[self->used - 1] == '\r') {
        self->used--;
    }
    self->line[self->used] = '\0';
    for (size_t i = 0; i < self->used; i++) {
        unsigned char c = (unsigned char)self->line[i];

        if ((c < ' ' && c != '\t') || c == 127) {
            bad(self, "it has a control character in its head");
            return false;
        }
    }
    self->used = 0;
    return true;
}

/* ---- The head ---- */

static int read_status_line(response *self)
{
    const char *line = self->line;

    if (strncmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ' ||
        line[9] < '1' || line[9] > '9' || !isdigit((unsigned char)line[10]) ||
        !isdigit((unsigned char)line[11]) || (line[12] != ' ' && line[12] != '\0')) {
        return bad(self, "it does not begin as HTTP/1.0 or 1.1");
    }
    self->minor = line[7] - '0';
    self->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    self->state = FIELD;
    return RESPONSE_MORE;
}

/* The same length twice is allowed. */
static int read_content_length(response *self, const char *digits)
{
    int64_t length = 0;

    if (*digits == '\0') {
        return bad(self, "its Content-Length is no number");
    }
    for (; *digits != '\0'; digits++) {
        if (!isdigit((unsigned char)*digits) || length > (INT64_MAX - 9) / 10) {
            return bad(self, "its Content-Length is no number, or too large a one");
        }
        length = length * 10 + (*digits - '0');
    }
    if (self->length >= 0 && self->length != length) {
        return bad(self, "it has two different Content-Lengths");
    }
    self->length = length;
    return RESPONSE_MORE;
}

static bool equals_in_any_case(const char *text, const char *word)
{
    while (*word != '\0' && tolower((unsigned char)*text) == *word) {
        text++;
        word++;
    }
    return *word == '\0' && *text == '\0';
}

/* Cuts "name: value" in two: the value, without blanks around it; NULL if it is no such line. */
static char *cut_field(char *line)
{
    static const char in_names[] = "!#$%&'*+-.^_`|~";
    size_t name = 0, end = strlen(line);

    while (isalnum((unsigned char)line[name]) ||
           (line[name] != '\0' && strchr(in_names, line[name]) != NULL)) {
        name++;
    }
    if (name == 0 || line[name] != ':') {
        return NULL;
    }
    line[name++] = '\0';
    while (end > name && (line[end - 1] == ' ' || line[end - 1] == '\t')) {
        line[--end] = '\0';
    }
    return line + name + strspn(line + name, " \t");
}

static int read_field(response *self)
{
    const char *name = self->line, *value = cut_field(self->line);

    if (value == NULL) {
        return bad(self, "it has a line in its head that is no field");
    }
    if (equals_in_any_case(name, "content-length")) {
        return read_content_length(self, value);
    }
    if (equals_in_any_case(name, "transfer-encoding")) {
        if (self->chunked || !equals_in_any_case(value, "chunked")) {
            return bad(self, "it has a Transfer-Encoding other than chunked");
        }
        self->chunked = true;
    } else if (equals_in_any_case(name, "location")) {
        if (self->has_location) {
            return bad(self, "it has more than one Location");
        }
        self->has_location = true;
        memcpy(self->location, value, strlen(value) + 1);
    }
    return RESPONSE_MORE;
}

/* The end of the head: how long is the body (RFC 9112, 6.3)? */
static int end_head(response *self)
{
    if (self->status == 101) {
        return bad(self, "it changes to a protocol that nobody has asked for");
    }
    if (self->status < 200) { /* the answer proper is still to come */
        size_t head = self->head;

        response_init(self);
        self->head = head;
        return RESPONSE_MORE;
    }
    if (self->chunked && (self->length >= 0 || self->minor == 0)) {
        return bad(self, "it is chunked, and should not be");
    }
    self->head = 0;
    if (self->status == 204 || self->status == 304) {
        self->length = 0;
        self->state = COMPLETE;
    } else if (self->chunked) {
        self->state = CHUNK_SIZE;
    } else if (self->length >= 0) {
        self->left = (uint64_t)self->length;
        self->state = self->left > 0 ? KNOWN_LENGTH : COMPLETE;
    } else {
        self->state = UNTIL_END;
    }
    return RESPONSE_HEAD;
}

/* ---- The body ---- */

/* "1aF" or "1aF;anything" */
static int read_chunk_size(response *self)
{
    const char *c = self->line;
    uint64_t size = 0;

    if (!isxdigit((unsigned char)*c)) {
        return bad(self, "it has a chunk without a size");
    }
    for (; isxdigit((unsigned char)*c); c++) {
        if (size > UINT64_MAX >> 8) {
            return bad(self, "it has too large a chunk");
        }
        size = size * 16 + (uint64_t)(isdigit((unsigned char)*c)
                                          ? *c - '0'
                                          : tolower((unsigned char)*c) - 'a' + 10);
    }
    c += strspn(c, " \t");
    if (*c != '\0' && *c != ';') {
        return bad(self, "it has a chunk whose size is no number");
    }
    self->head = 0;
    self->left = size;
    self->state = size > 0 ? CHUNK : TRAILER;
    return RESPONSE_MORE;
}

static int read_line(response *self)
{
    switch (self->state) {
    case STATUS_LINE:
        return read_status_line(self);
    case FIELD:
        return self->line[0] == '\0' ? end_head(self) : read_field(self);
    case CHUNK_SIZE:
        return read_chunk_size(self);
    case CHUNK_END:
        self->state = CHUNK_SIZE;
        return self->line[0] == '\0' ? RESPONSE_MORE : bad(self, "a chunk is longer than it said");
    default: /* TRAILER */
        if (self->line[0] == '\0') {
            self->state = COMPLETE;
        }
        return RESPONSE_MORE;
    }
}

static int take_body(response *self, const char **data, size_t *length, const char **body,
                     size_t *body_length)
{
    size_t taken = *length;

    if (self->state != UNTIL_END) {
        if (taken > self->left) {
            taken = (size_t)self->left;
        }
        self->left -= taken;
        if (self->left == 0) {
            self->state = self->state == CHUNK ? CHUNK_END : COMPLETE;
        }
    }
    *body = *data;
    *body_length = taken;
    *data += taken;
    *length -= taken;
    return RESPONSE_BODY;
}

int response_read(response *self, const char **data, size_t *length, const char **body,
                  size_t *body_length)
{
    int found = RESPONSE_MORE;

    while (found == RESPONSE_MORE) {
        if (self->state == COMPLETE) {
            return RESPONSE_END;
        }
        if (self->state == BAD) {
            return RESPONSE_BAD;
        }
        if (*length == 0) {
            return RESPONSE_MORE;
        }
        if (self->state == KNOWN_LENGTH || self->state == UNTIL_END || self->state == CHUNK) {
            found = take_body(self, data, length, body, body_length);
        } else if (take_line(self, data, length)) {
            found = read_line(self);
        }
    }
    return found;
}

bool response_may_end(const response *self)
{
    return self->state == UNTIL_END || self->state == COMPLETE;
}

bool response_is_empty(const response *self)
{
    return self->state == STATUS_LINE && self->used == 0;
}

bool response_in_body(const response *self)
{
    return self->state >= KNOWN_LENGTH && self->state < COMPLETE;
}
