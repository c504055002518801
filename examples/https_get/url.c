/* SPDX-License-Identifier: MIT */
#include "url.h"

#include "codes.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A piece of a text, not ended by a NUL. */
typedef struct slice {
    const char *data;
    size_t length;
} slice;

static int malformed(const char **why, const char *reason)
{
    *why = reason;
    return MALFORMED_URL;
}

static bool begins_in_any_case(const char *text, const char *word)
{
    for (; *word != '\0'; text++, word++) {
        if (tolower((unsigned char)*text) != *word) {
            return false;
        }
    }
    return true;
}

/* The length of "scheme:" at the beginning; 0: there is none. */
static size_t scheme_length(const char *text)
{
    size_t length = 0;

    if (isalpha((unsigned char)text[0])) {
        while (isalnum((unsigned char)text[length]) ||
               (text[length] != '\0' && strchr("+-.", text[length]) != NULL)) {
            length++;
        }
    }
    return text[length] == ':' ? length + 1 : 0;
}

/* ---- User, host, port ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The user's name and password without their escapes. */
static int read_user(slice text, url *parsed, const char **why)
{
    size_t length = 0;

    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];

        if (c == '%') {
            int high = i + 2 < text.length ? hex_digit(text.data[i + 1]) : -1;
            int low = i + 2 < text.length ? hex_digit(text.data[i + 2]) : -1;

            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return malformed(why, "the user has a % that escapes nothing");
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (length + 1 == sizeof parsed->user) {
            return malformed(why, "the user is too long");
        }
        parsed->user[length++] = c;
    }
    parsed->user[length] = '\0';
    return FINE;
}

static int read_port(slice digits, url *parsed, const char **why)
{
    long port = 0;

    for (size_t i = 0; i < digits.length; i++) {
        if (!isdigit((unsigned char)digits.data[i]) || port > 65535) {
            return malformed(why, "the port is no number from 1 to 65535");
        }
        port = port * 10 + (digits.data[i] - '0');
    }
    if (digits.length > 0) { /* "host:" is "host" */
        if (port < 1 || port > 65535) {
            return malformed(why, "the port is no number from 1 to 65535");
        }
        parsed->port = (int)port;
    }
    return FINE;
}

static int read_host(slice name, const char *others, url *parsed, const char **why)
{
    if (name.length == 0) {
        return malformed(why, "there is no host");
    }
    if (name.length >= sizeof parsed->host) {
        return malformed(why, "the host is too long");
    }
    for (size_t i = 0; i < name.length; i++) {
        unsigned char c = (unsigned char)name.data[i];

        if (c >= 128 || c == 0 || (!isalnum(c) && strchr(others, c) == NULL)) {
            return malformed(why, "the host has a character that no host has");
        }
        parsed->host[i] = (char)tolower(c);
    }
    parsed->host[name.length] = '\0';
    return FINE;
}

/* "user:password@host:port" */
static int read_authority(slice text, url *parsed, const char **why)
{
    const char *end = text.data + text.length;
    slice host = text, port = {"", 0};
    const char *others = "-._";
    int code = FINE;

    parsed->port = parsed->secure ? 443 : 80;
    for (const char *at = end; at-- > text.data;) { /* the last @: a password may have one */
        if (*at == '@') {
            code = read_user((slice){text.data, (size_t)(at - text.data)}, parsed, why);
            host = (slice){at + 1, (size_t)(end - at) - 1};
            break;
        }
    }
    if (host.length > 0 && host.data[0] == '[') {
        const char *bracket = memchr(host.data, ']', host.length);

        if (bracket == NULL || (bracket + 1 < end && bracket[1] != ':')) {
            return malformed(why, "an IPv6 address ends in ]");
        }
        port = bracket + 1 < end ? (slice){bracket + 2, (size_t)(end - bracket) - 2} : port;
        host = (slice){host.data + 1, (size_t)(bracket - host.data) - 1};
        others = ":.";
    } else {
        const char *colon = memchr(host.data, ':', host.length);

        if (colon != NULL) {
            port = (slice){colon + 1, (size_t)(end - colon) - 1};
            host.length = (size_t)(colon - host.data);
        }
    }
    code = code == FINE ? read_host(host, others, parsed, why) : code;
    return code == FINE ? read_port(port, parsed, why) : code;
}

/* ---- Path and query ---- */

/*
 * Takes "/./" and "/../" out of a path (RFC 3986, 5.2.4), in place; what follows `path_length` is
 * the query, and stays. The path begins with a slash.
 */
static void remove_dots(char *target, size_t path_length)
{
    size_t in = 0, out = 0;
    size_t length = strlen(target);

    while (in < path_length) { /* at a slash */
        size_t end = in + 1;

        while (end < path_length && target[end] != '/') {
            end++;
        }
        size_t size = end - in - 1;
        bool one = size == 1 && target[in + 1] == '.';
        bool two = size == 2 && target[in + 1] == '.' && target[in + 2] == '.';

        if (two) {
            while (out > 0 && target[--out] != '/') {
            }
        }
        if (!one && !two) {
            memmove(target + out, target + in, end - in);
            out += end - in;
        } else if (end == path_length) {
            target[out++] = '/';
        }
        in = end;
    }
    memmove(target + out, target + path_length, length - path_length + 1);
}

/*
 * `text` is path and query, up to a fragment. What is not ASCII, and a blank, is escaped, as
 * browsers do; a control character is no mistake that anybody makes in good faith.
 */
static int set_target(url *self, const char *text, const char **why)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t length = 0;

    if (*text != '/') {
        self->target[length++] = '/';
    }
    for (; *text != '\0' && *text != '#'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < ' ' || c == 127) {
            return malformed(why, "there is a control character in it");
        }
        if (length + 4 > sizeof self->target) {
            return malformed(why, "it is too long");
        }
        if (c == ' ' || c > 127) {
            self->target[length++] = '%';
            self->target[length++] = digits[c / 16];
            self->target[length++] = digits[c % 16];
        } else {
            self->target[length++] = (char)c;
        }
    }
    self->target[length] = '\0';
    remove_dots(self->target, strcspn(self->target, "?"));
    return FINE;
}

/* What stands behind "https://". */
static int read_rest(const char *text, url *parsed, const char **why)
{
    size_t length = strcspn(text, "/?#");
    int code = read_authority((slice){text, length}, parsed, why);

    return code == FINE ? set_target(parsed, text + length, why) : code;
}

int url_parse(const char *text, url *parsed, const char **why)
{
    size_t scheme = scheme_length(text);

    *parsed = (url){.secure = true};
    if (scheme == 0 || strncmp(text + scheme, "//", 2) != 0) {
        return read_rest(text, parsed, why);
    }
    if (begins_in_any_case(text, "http:")) {
        parsed->secure = false;
    } else if (!begins_in_any_case(text, "https:")) {
        *why = "only http and https are known";
        return UNKNOWN_PROTOCOL;
    }
    return read_rest(text + scheme + 2, parsed, why);
}

int url_resolve(const url *base, const char *reference, url *resolved, const char **why)
{
    char target[URL_TEXT_SIZE];
    size_t kept = 0; /* of the base's target */

    if (scheme_length(reference) > 0) {
        return url_parse(reference, resolved, why);
    }
    if (strncmp(reference, "//", 2) == 0) {
        *resolved = (url){.secure = base->secure};
        return read_rest(reference + 2, resolved, why);
    }

    *resolved = *base;
    if (*reference == '\0' || *reference == '#') {
        return FINE;
    }
    if (*reference != '/') {
        kept = strcspn(base->target, "?");
        while (*reference != '?' && base->target[kept - 1] != '/') {
            kept--;
        }
    }
    if (kept + strlen(reference) >= sizeof target) {
        return malformed(why, "it is too long");
    }
    memcpy(target, base->target, kept);
    memcpy(target + kept, reference, strlen(reference) + 1);
    return set_target(resolved, target, why);
}

/* ---- Back to text ---- */

bool url_same_origin(const url *one, const url *other)
{
    return one->secure == other->secure && one->port == other->port &&
           strcmp(one->host, other->host) == 0;
}

void url_authority(const url *self, char text[URL_HOST_SIZE + 16])
{
    bool literal = strchr(self->host, ':') != NULL;
    char port[16] = "";

    if (self->port != (self->secure ? 443 : 80)) {
        snprintf(port, sizeof port, ":%d", self->port);
    }
    snprintf(text, URL_HOST_SIZE + 16, "%s%s%s%s", literal ? "[" : "", self->host,
             literal ? "]" : "", port);
}

void url_format(const url *self, char *text, size_t size)
{
    char authority[URL_HOST_SIZE + 16];

    url_authority(self, authority);
    snprintf(text, size, "http%s://%s%s", self->secure ? "s" : "", authority, self->target);
}
