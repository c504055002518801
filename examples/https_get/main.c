/* SPDX-License-Identifier: MIT */
/*
 * https_get: fetches what a URL names, over HTTPS or HTTP, as curl does.
 *
 *     https_get https://www.example.com/ -o page.html
 *     https_get --timing --cacert ours.pem https://localhost:8443/
 *
 * The flags and the exit codes are those of curl (codes.h). A file for each idea:
 *
 *     url.c        what a URL says, and where a redirect leads
 *     request.c    what the server is asked
 *     response.c   what it answers, read from pieces of any size
 *     fetch.c      the connection: who calls what, and how it may end
 *     session.c    a session of TLS in a file
 *     progress.c   the line on a terminal
 *
 * The hard idea is in fetch.c: that an answer is complete has to be known, never guessed. Where its
 * end is the end of the connection, only TLS tells the server's end from a cut on the way. Whom TLS
 * trusts, and what else it checks, is in docs/tls_clients.md.
 */
#include "codes.h"
#include "fetch.h"
#include "request.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

#define USAGE                                                                                      \
    "usage: https_get [flag]... URL\n"                                                             \
    "  -o, --output FILE      where the body is written (stdout)\n"                                \
    "  -f, --fail             a status of 400 or more is an error, and nothing is written (no)\n"  \
    "  -H, --header FIELD     a field of the request, \"Name: value\"; may be repeated\n"          \
    "  --cacert FILE          whom to trust in the place of the system's authorities, in PEM\n"    \
    "  -k, --insecure         trusts everybody: whoever is on the way can read and change it\n"    \
    "  --resume FILE          keeps the session of TLS there, for the next time with the same\n"   \
    "                         host and --cacert; the file is a secret (no)\n"                      \
    "  --max-redirs N         redirects that are followed (10)\n"                                  \
    "  --plain-redirects      follows redirects from https to http, too (no)\n"                    \
    "  --connect-timeout S    seconds for each connection, names and TLS included (30)\n"          \
    "  -m, --max-time S       seconds for all of it (no limit)\n"                                  \
    "  --timing               says on stderr how long each part took (no)\n"                       \
    "  -h, --help             prints this\n"                                                       \
    "A user and password in the URL, and --header, are sent to the host of the URL alone.\n"

enum { FIELDS_LIMIT = 64 };

typedef struct settings {
    fetch_settings fetch;
    pco_ssl_context_options ssl;
    const char *fields[FIELDS_LIMIT];
    bool has_url;
} settings;

/* ---- The command line ---- */

static int refuse(const char *what, const char *why)
{
    fprintf(stderr, "https_get: (%d) %s %s; --help tells more\n", USAGE_ERROR, what, why);
    return USAGE_ERROR;
}

static int read_number(const char *flag, const char *digits, double *number)
{
    char *end = NULL;

    *number = strtod(digits, &end);
    if (end == digits || *end != '\0' || !(*number >= 0 && *number <= 1e6)) {
        return refuse(flag, "needs a number, not below 0, and not so large a one");
    }
    return FINE;
}

static int add_field(settings *set, const char *field)
{
    if (!request_is_field(field)) {
        return refuse("--header", "needs a field such as \"Name: value\"");
    }
    if (set->fetch.fields_count == FIELDS_LIMIT) {
        return refuse("--header", "is there too often");
    }
    set->fields[set->fetch.fields_count++] = field;
    return FINE;
}

static bool is_flag(const char *argument, const char *letter, const char *word)
{
    return strcmp(argument, letter) == 0 || strcmp(argument, word) == 0;
}

/* A flag that stands alone: whether it is one. */
static bool read_switch(settings *set, const char *flag)
{
    if (is_flag(flag, "-f", "--fail")) {
        set->fetch.fail = true;
    } else if (is_flag(flag, "-k", "--insecure")) {
        set->ssl.dangerously_accept_any_certificate = PCO_ON;
    } else if (strcmp(flag, "--plain-redirects") == 0) {
        set->fetch.plain_redirects = true;
    } else if (strcmp(flag, "--timing") == 0) {
        set->fetch.timing = true;
    } else {
        return false;
    }
    return true;
}

/* A flag with a value, which may be missing. */
static int read_flag(settings *set, const char *flag, const char *value)
{
    if (value == NULL) {
        return refuse(flag, "is unknown, or lacks its value");
    }
    if (is_flag(flag, "-o", "--output")) {
        set->fetch.output = strcmp(value, "-") != 0 ? value : NULL;
        return FINE;
    }
    if (is_flag(flag, "-H", "--header")) {
        return add_field(set, value);
    }
    if (strcmp(flag, "--cacert") == 0) {
        set->ssl.ca_file = value;
        return FINE;
    }
    if (strcmp(flag, "--resume") == 0) {
        set->fetch.session = value;
        return FINE;
    }
    if (strcmp(flag, "--max-redirs") == 0) {
        return read_number(flag, value, &set->fetch.max_redirects);
    }
    if (strcmp(flag, "--connect-timeout") == 0) {
        return read_number(flag, value, &set->fetch.connect_timeout);
    }
    if (is_flag(flag, "-m", "--max-time")) {
        return read_number(flag, value, &set->fetch.max_time);
    }
    return refuse(flag, "is unknown");
}

static int read_url(settings *set, const char *text)
{
    const char *why = NULL;
    int code = url_parse(text, &set->fetch.where, &why);

    if (code != FINE) {
        fprintf(stderr, "https_get: (%d) %s: %s\n", code, text, why);
    } else if (set->has_url) {
        return refuse("URL", "is there twice");
    }
    set->has_url = true;
    return code;
}

static int read_settings(settings *set, char **argv)
{
    int code = FINE;

    set->ssl.size = sizeof set->ssl;
    set->fetch.fields = set->fields;
    set->fetch.max_redirects = 10;
    set->fetch.connect_timeout = 30;
    for (char **next = argv + 1; code == FINE && *next != NULL; next++) {
        if (**next != '-') {
            code = read_url(set, *next);
        } else if (!read_switch(set, *next)) {
            code = read_flag(set, next[0], next[1]);
            next += code == FINE;
        }
    }
    if (code == FINE && set->fetch.session != NULL &&
        set->ssl.dangerously_accept_any_certificate == PCO_ON) {
        /* who is resumed is not verified again, the next time neither */
        return refuse("--resume", "and --insecure do not go together");
    }
    return code == FINE && !set->has_url ? refuse("URL", "is missing") : code;
}

static bool asks_for_help(char **argv)
{
    for (char **next = argv + 1; *next != NULL; next++) {
        if (is_flag(*next, "-h", "--help")) {
            return true;
        }
    }
    return false;
}

/* ---- The program ---- */

/* Most have nothing to say about TLS: then the library's own context serves. */
static int make_context(settings *set)
{
    pco_error error;

    if (set->ssl.dangerously_accept_any_certificate == PCO_ON) {
        set->ssl.ca_file = NULL; /* as curl has it */
    } else if (set->ssl.ca_file == NULL) {
        return FINE;
    }
    if (pco_ssl_context_new_client(&set->ssl, &set->fetch.ssl, &error) != 0) {
        int code = error.code == PCO_ENOTSUP ? UNKNOWN_PROTOCOL : BAD_CA_FILE;

        fprintf(stderr, "https_get: (%d) %s\n", code, error.message);
        return code;
    }
    return FINE;
}

static void prepare_stdout(void)
{
#ifdef _WIN32
    _setmode(_fileno(stdout), _O_BINARY); /* or line ends would be changed */
#endif
#ifdef SIGPIPE
    signal(SIGPIPE, SIG_IGN); /* a reader of stdout that has gone is an error as others are */
#endif
}

int main(int argc, char **argv)
{
    static settings set; /* too large for some stacks */
    pco_loop *loop = NULL;
    pco_error error;

    (void)argc;
    if (asks_for_help(argv)) {
        printf("%s", USAGE);
        return FINE;
    }
    prepare_stdout();
    int code = read_settings(&set, argv);
    if (code == FINE) {
        code = make_context(&set);
    }
    if (code != FINE) {
        return code;
    }

    if (pco_loop_new(NULL, &loop, &error) != 0) {
        fprintf(stderr, "https_get: (%d) %s\n", NO_MEMORY, error.message);
        return NO_MEMORY;
    }
    code = fetch(loop, &set.fetch);
    pco_ssl_context_release(set.fetch.ssl);
    pco_loop_free(loop);
    return code;
}
