/* SPDX-License-Identifier: MIT */
#include "session.h"

#include <stdio.h>

#ifndef _WIN32
#include <sys/stat.h>
#include <sys/types.h>
#endif

enum { SESSION_LIMIT = 64 * 1024 };

static unsigned char bytes[SESSION_LIMIT];

pco_ssl_session *session_read(const char *name, pco_ssl_context *context)
{
    pco_ssl_session *session = NULL;
    FILE *file = fopen(name, "rb");

    if (file != NULL) { /* the first time there is none */
        size_t length = fread(bytes, 1, sizeof bytes, file);

        if (pco_ssl_session_parse(bytes, length, context, &session, NULL) != 0) {
            session = NULL;
        }
        fclose(file);
    }
    return session;
}

/* On Windows a user's folders are the user's alone; elsewhere the file has to say so. */
static FILE *create(const char *name)
{
    remove(name);
#ifdef _WIN32
    return fopen(name, "wb");
#else
    mode_t before = umask(077);
    FILE *file = fopen(name, "wb");

    umask(before);
    return file;
#endif
}

static bool write_bytes(const char *name, size_t length)
{
    FILE *file = create(name);
    bool written = file != NULL && fwrite(bytes, 1, length, file) == length;

    return file != NULL && fclose(file) == 0 && written;
}

bool session_write(const char *name, pco_transport *transport)
{
    pco_ssl_session *session = NULL;
    size_t length = 0;
    bool written = true;

    if (pco_transport_get_ssl_session(transport, &session) == 0) {
        written = pco_ssl_session_serialize(session, bytes, sizeof bytes, &length) == 0 &&
                  write_bytes(name, length);
    }
    pco_ssl_session_release(session);
    return written;
}
