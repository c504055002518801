/* SPDX-License-Identifier: MIT */
/* unix_server.c: create_unix_server: the options of a file, and then create_server's. */
#include <string.h>

#include <portico/unix.h>

#include "local/options.h"
#include "server/server.h"
#include "support/error.h"
#include "support/options.h"

#define ALL_MODES 0777

static const pco__field option_fields[] = {
    PCO__FIELD(pco_unix_options, mode),
    PCO__FIELD(pco_unix_options, cleanup_socket),
    PCO__FIELD(pco_unix_options, replace_stale),
};
static const pco__layout option_layout =
    PCO__LAYOUT(pco_unix_options, sizeof(size_t), option_fields);

/* What only makes sense of a file that is to be made. */
static int check_file(const pco_unix_options *options, const char *path, pco_error *error)
{
    if (options->mode < 0 || options->mode > ALL_MODES) {
        return pco__error_set(
            error, PCO_EINVAL, 0, "mode is %s%#o, not from 0 to 0777", options->mode < 0 ? "-" : "",
            options->mode < 0 ? 0U - (unsigned)options->mode : (unsigned)options->mode);
    }
    if (options->mode != 0 && (path == NULL || path[0] == '@')) {
        return pco__error_set(error, PCO_EINVAL, 0, "mode is only meaningful for a file: %s",
                              path == NULL ? "sock is bound already"
                                           : "nothing protects an abstract name");
    }
    if (options->replace_stale != PCO_DEFAULT && path == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "replace_stale is only meaningful with a path");
    }
    return 0;
}

static int read_unix_options(const pco_unix_options *given, pco_unix_options *options,
                             pco_error *error)
{
    memset(options, 0, sizeof *options);
    int code = given != NULL ? pco__options_read(&option_layout, given, options, error) : 0;
    if (code == 0) {
        code = pco__check_switch(options->cleanup_socket, "cleanup_socket", error);
    }
    return code == 0 ? pco__check_switch(options->replace_stale, "replace_stale", error) : code;
}

int pco_loop_create_unix_server(pco_loop *loop, const char *path, const pco_server_options *options,
                                const pco_unix_options *unix_options, pco_server **server,
                                pco_error *error)
{
    pco_server_options whole;
    pco_unix_options file;
    pco_address address;
    pco__loop_check_thread(loop);
    int code = pco__server_options_read(options, &whole, error);
    if (code == 0) {
        code = pco__server_check_no_tcp(&whole, error);
    }
    if (code == 0) {
        code = read_unix_options(unix_options, &file, error);
    }
    if (code == 0) {
        code = check_file(&file, path, error);
    }
    if (code == 0) {
        code = pco__local_check_unix(loop, path, whole.sock, whole.has_sock, &address, error);
    }
    if (code != 0) {
        return code;
    }
    pco__server_place place = {.address = path != NULL ? &address : NULL,
                               .file_mode = file.mode,
                               .replace_stale = file.replace_stale != PCO_OFF,
                               .cleanup_socket = file.cleanup_socket != PCO_OFF};
    return pco__create_server_at(loop, &whole, &place, server, error);
}
