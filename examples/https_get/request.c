/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <ctype.h>
#include <string.h>

bool request_is_field(const char *text)
{
    static const char in_names[] = "!#$%&'*+-.^_`|~";
    size_t name = 0;

    while (isalnum((unsigned char)text[name]) ||
           (text[name] != '\0' && strchr(in_names, text[name]) != NULL)) {
        name++;
    }
    for (const char *c = text + name; *c != '\0'; c++) {
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 127) {
            return false; /* a line of its own, for instance */
        }
    }
    return name > 0 && text[name] == ':';
}

/* Small writes of one callback leave together: there is no need to gather them here. */
static void say(pco_transport *transport, const char *text)
{
    pco_transport_write(transport, text, strlen(text));
}

/* "Name: value", unless the user has a field of that name. */
static void say_field(pco_transport *transport, const char *name, const char *value,
                      const char *const *fields, size_t fields_count)
{
    for (size_t i = 0; i < fields_count; i++) {
        size_t length = 0;

        while (name[length] != '\0' &&
               tolower((unsigned char)name[length]) == tolower((unsigned char)fields[i][length])) {
            length++;
        }
        if (name[length] == '\0' && fields[i][length] == ':') {
            return;
        }
    }
    say(transport, name);
    say(transport, ": ");
    say(transport, value);
    say(transport, "\r\n");
}

/* "Basic " and base64 of the user's name and password (RFC 7617). */
static void basic(const char *user, char text[URL_HOST_SIZE * 2])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = (const unsigned char *)user;
    size_t length = strlen(user), out = strlen("Basic ");

    memcpy(text, "Basic ", out);
    for (size_t i = 0; i < length; i += 3) {
        unsigned second = i + 1 < length ? bytes[i + 1] : 0;
        unsigned third = i + 2 < length ? bytes[i + 2] : 0;
        unsigned bits = (unsigned)bytes[i] << 16 | second << 8 | third;

        text[out++] = digits[bits >> 18];
        text[out++] = digits[bits >> 12 & 63];
        text[out++] = i + 1 < length ? digits[bits >> 6 & 63] : '=';
        text[out++] = i + 2 < length ? digits[bits & 63] : '=';
    }
    text[out] = '\0';
}

void request_write(pco_transport *transport, const url *where, const char *user,
                   const char *const *fields, size_t fields_count)
{
    char host[URL_HOST_SIZE + 16], authorization[URL_HOST_SIZE * 2];

    url_authority(where, host);
    say(transport, "GET ");
    say(transport, where->target);
    say(transport, " HTTP/1.1\r\n");
    say_field(transport, "Host", host, fields, fields_count);
    if (user[0] != '\0') {
        basic(user, authorization);
        say_field(transport, "Authorization", authorization, fields, fields_count);
    }
    say_field(transport, "User-Agent", "https_get", fields, fields_count);
    say_field(transport, "Accept", "*/*", fields, fields_count);
    say_field(transport, "Connection", "close", fields, fields_count);
    for (size_t i = 0; i < fields_count; i++) {
        say(transport, fields[i]);
        say(transport, "\r\n");
    }
    say(transport, "\r\n");
}
