/* SPDX-License-Identifier: MIT */
/*
 * context.c: the context that servers, threads and names of SNI share.
 *
 * A context is in two parts. The slot holds the setup of the moment, which reloading replaces, and
 * refers to nothing else. The context holds a slot and the names, each of which refers to the slot
 * of another context, not to the context: so two contexts may name each other and still be freed.
 * Each part has its mutex; the slot's is taken last, and nothing is called while it is held.
 *
 * A name is looked up when the ClientHello arrives and not, as most do, when OpenSSL parses the
 * server name: only then is the right setup known before a session is resumed, and a client cannot
 * pass by the checks of one name with a session that it got under another.
 */
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <string.h>

#include "support/memory.h"
#include "system/platform.h"
#include "tls/bio.h"

/* The longest host name (RFC 1035) and its longest label. */
#define NAME_MOST 253
#define LABEL_MOST 63

typedef struct slot {
    pco__mutex *mutex; /* guards what follows, and the setup's references */
    unsigned references;
    pco__ssl_setup *setup; /* never NULL */
} slot;

typedef struct server_name {
    char *name; /* in lower case */
    slot *slot;
} server_name;

struct pco_ssl_context {
    pco__mutex *mutex; /* guards what follows, except `slot`, which stays the same */
    unsigned references;
    bool client;
    slot *slot;
    server_name *names; /* sorted */
    size_t names_count;
    size_t names_room;
};

/* ---- The slot ---- */

static slot *new_slot(pco__ssl_setup *setup)
{
    slot *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    if (pco__mutex_new(&made->mutex) != 0) {
        pco__free(made);
        return NULL;
    }
    made->references = 1;
    made->setup = setup;
    return made;
}

static void retain_slot(slot *held)
{
    pco__mutex_lock(held->mutex);
    held->references++;
    pco__mutex_unlock(held->mutex);
}

static void release_slot(slot *held)
{
    pco__mutex_lock(held->mutex);
    bool last = --held->references == 0;
    pco__mutex_unlock(held->mutex);
    if (last) {
        pco__ssl_setup_free(held->setup);
        pco__mutex_free(held->mutex);
        pco__free(held);
    }
}

static pco__ssl_setup *take_setup(slot *held)
{
    pco__mutex_lock(held->mutex);
    pco__ssl_setup *setup = held->setup;
    setup->references++;
    pco__mutex_unlock(held->mutex);
    return setup;
}

static void give_setup(slot *held, pco__ssl_setup *setup)
{
    pco__mutex_lock(held->mutex);
    bool last = --setup->references == 0;
    pco__mutex_unlock(held->mutex);
    if (last) {
        pco__ssl_setup_free(setup);
    }
}

pco__ssl_setup *pco__ssl_context_take(pco_ssl_context *context)
{
    return take_setup(context->slot);
}

void pco__ssl_context_give(pco_ssl_context *context, pco__ssl_setup *setup)
{
    give_setup(context->slot, setup);
}

/* ---- The context ---- */

/* Makes a context of the setup, which is freed if that fails. */
static int new_context(pco__ssl_setup *setup, bool client, pco_ssl_context **context,
                       pco_error *error)
{
    pco_ssl_context *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        goto fail;
    }
    if (pco__mutex_new(&made->mutex) != 0) {
        goto fail_mutex;
    }
    made->slot = new_slot(setup);
    if (made->slot == NULL) {
        goto fail_slot;
    }
    made->references = 1;
    made->client = client;
    *context = made;
    return 0;
fail_slot:
    pco__mutex_free(made->mutex);
fail_mutex:
    pco__free(made);
fail:
    pco__ssl_setup_free(setup);
    return pco__error_describe(error, PCO_ENOMEM, 0, "make a TLS context");
}

static int new_from_options(const pco_ssl_context_options *options, bool client,
                            pco_ssl_context **context, pco_error *error)
{
    pco__ssl_setup *setup;
    int code = pco__ssl_setup_new(options, client, &setup, error);
    return code != 0 ? code : new_context(setup, client, context, error);
}

static bool is_ready(pco_ssl_context *context)
{
    pco__ssl_setup *setup = pco__ssl_context_take(context);
    bool ready = setup->ready;
    pco__ssl_context_give(context, setup);
    return ready;
}

bool pco__ssl_context_fits(pco_ssl_context *context, bool client)
{
    pco__ssl_setup *setup = pco__ssl_context_take(context);
    bool ready = setup->ready;
    const SSL_METHOD *others = client ? TLS_server_method() : TLS_client_method();
    bool is_the_others = SSL_CTX_get_ssl_method(setup->ctx) == others;
    pco__ssl_context_give(context, setup);
    return ready ? !is_the_others : context->client == client;
}

int pco_ssl_context_new(const pco_ssl_context_options *options, pco_ssl_context **context,
                        pco_error *error)
{
    return new_from_options(options, false, context, error);
}

int pco_ssl_context_new_client(const pco_ssl_context_options *options, pco_ssl_context **context,
                               pco_error *error)
{
    return new_from_options(options, true, context, error);
}

int pco_ssl_context_from_ssl_ctx(struct ssl_ctx_st *ssl_ctx, pco_ssl_context **context,
                                 pco_error *error)
{
    pco__ssl_setup *setup;
    int code = pco__ssl_setup_from_ssl_ctx(ssl_ctx, &setup, error);
    return code != 0 ? code : new_context(setup, false, context, error);
}

int pco_ssl_context_reload(pco_ssl_context *context, const pco_ssl_context_options *options,
                           pco_error *error)
{
    pco__ssl_setup *setup;
    if (is_ready(context)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "a context of a ready SSL_CTX is not reloaded by options");
    }
    int code = pco__ssl_setup_new(options, context->client, &setup, error);
    if (code != 0) {
        return code;
    }
    slot *held = context->slot;
    pco__mutex_lock(held->mutex);
    pco__ssl_setup *old = held->setup;
    held->setup = setup;
    pco__mutex_unlock(held->mutex);
    give_setup(held, old);
    return 0;
}

pco_ssl_context *pco_ssl_context_retain(pco_ssl_context *context)
{
    pco__mutex_lock(context->mutex);
    context->references++;
    pco__mutex_unlock(context->mutex);
    return context;
}

void pco_ssl_context_release(pco_ssl_context *context)
{
    if (context == NULL) {
        return;
    }
    pco__mutex_lock(context->mutex);
    bool last = --context->references == 0;
    pco__mutex_unlock(context->mutex);
    if (!last) {
        return;
    }
    for (size_t i = 0; i < context->names_count; i++) {
        release_slot(context->names[i].slot);
        pco__free(context->names[i].name);
    }
    pco__free(context->names);
    release_slot(context->slot);
    pco__mutex_free(context->mutex);
    pco__free(context);
}

/* ---- Names ---- */

static bool is_label_character(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/*
 * Writes the name in lower case, without a dot at its end, into `to`, which has NAME_MOST + 1
 * bytes. False: it is no host name. A first label "*" is one if `pattern`.
 */
static bool normalize(const unsigned char *name, size_t length, bool pattern, char *to)
{
    if (length != 0 && name[length - 1] == '.') {
        length--;
    }
    if (length == 0 || length > NAME_MOST) {
        return false;
    }
    size_t label = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = name[i];
        if (c >= 'A' && c <= 'Z') {
            c = (unsigned char)(c - 'A' + 'a');
        }
        to[i] = (char)c;
        if (c == '.') {
            if (label == 0) {
                return false;
            }
            label = 0;
        } else if (++label > LABEL_MOST ||
                   !(is_label_character(c) || (pattern && c == '*' && i == 0))) {
            return false;
        }
    }
    to[length] = '\0';
    return label != 0 && (to[0] != '*' || (to[1] == '.' && length > 2));
}

/* The index of the name, or where it would be inserted. */
static size_t find_name(const pco_ssl_context *context, const char *name, bool *found)
{
    size_t low = 0;
    size_t high = context->names_count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, context->names[middle].name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Makes room for one more name. */
static bool reserve_name(pco_ssl_context *context)
{
    if (context->names_count < context->names_room) {
        return true;
    }
    size_t room = context->names_room != 0 ? 2 * context->names_room : 4;
    server_name *names = pco__realloc(context->names, room * sizeof *names);
    if (names == NULL) {
        return false;
    }
    context->names = names;
    context->names_room = room;
    return true;
}

/* Puts the name in its place, with the reference to the slot. *replaced: the slot of before. */
static bool put_name(pco_ssl_context *context, const char *name, slot *other, slot **replaced)
{
    bool found;
    size_t place = find_name(context, name, &found);
    if (found) {
        *replaced = context->names[place].slot;
        context->names[place].slot = other;
        return true;
    }
    char *copy = pco__strdup(name);
    if (copy == NULL || !reserve_name(context)) {
        pco__free(copy);
        return false;
    }
    memmove(context->names + place + 1, context->names + place,
            (context->names_count - place) * sizeof *context->names);
    context->names[place] = (server_name){.name = copy, .slot = other};
    context->names_count++;
    return true;
}

int pco_ssl_context_add_server_name(pco_ssl_context *context, const char *name,
                                    pco_ssl_context *other, pco_error *error)
{
    char normal[NAME_MOST + 1];
    if (other == NULL || other == context) {
        return pco__error_set(error, PCO_EINVAL, 0, "server_name needs a context other than %s",
                              other == NULL ? "NULL" : "its own");
    }
    if (name == NULL || !normalize((const unsigned char *)name, strlen(name), true, normal)) {
        return pco__error_set(error, PCO_EINVAL, 0, "server_name '%.80s' is no host name",
                              name != NULL ? name : "");
    }
    if (is_ready(context)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "a context of a ready SSL_CTX takes no server names: the library "
                              "sets no callbacks in it");
    }
    if (context->client || !pco__ssl_context_fits(other, false)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "%s is one for clients: server names are for servers",
                              context->client ? "the context" : "the other context");
    }

    slot *replaced = NULL;
    retain_slot(other->slot);
    pco__mutex_lock(context->mutex);
    bool put = put_name(context, normal, other->slot, &replaced);
    pco__mutex_unlock(context->mutex);
    if (!put) {
        replaced = other->slot;
    }
    if (replaced != NULL) {
        release_slot(replaced);
    }
    return put ? 0 : pco__error_describe(error, PCO_ENOMEM, 0, "server_name '%.80s'", normal);
}

/* ---- Looking up ---- */

/* The slot for the name, retained, or NULL. The name itself wins over a pattern. */
static slot *look_up(pco_ssl_context *context, char *name)
{
    bool found = false;
    size_t place = 0;
    pco__mutex_lock(context->mutex);
    if (context->names_count != 0) {
        place = find_name(context, name, &found);
        char *dot = strchr(name, '.');
        if (!found && dot != NULL && dot != name) {
            dot[-1] = '*';
            place = find_name(context, dot - 1, &found);
        }
    }
    slot *held = found ? context->names[place].slot : NULL;
    if (held != NULL) {
        retain_slot(held);
    }
    pco__mutex_unlock(context->mutex);
    return held;
}

/* The name in the ClientHello's server_name extension (RFC 6066, 3). */
static bool get_server_name(SSL *engine, char *name)
{
    const unsigned char *data;
    size_t length;
    if (SSL_client_hello_get0_ext(engine, TLSEXT_TYPE_server_name, &data, &length) != 1) {
        return false;
    }

    /* The list's length, and its one entry: type, length, name. */
    if (length < 5 || data[2] != TLSEXT_NAMETYPE_host_name) {
        return false;
    }
    size_t name_length = ((size_t)data[3] << 8) | data[4];
    return name_length <= length - 5 && normalize(data + 5, name_length, false, name);
}

/* Shows the setup's certificate instead, and demands what the setup demands. */
static bool switch_setup(SSL *engine, const pco__ssl_setup *setup)
{
    if (SSL_set_SSL_CTX(engine, setup->ctx) == NULL ||
        SSL_set_session_id_context(engine, setup->id, sizeof setup->id) != 1 ||
        X509_VERIFY_PARAM_set1(SSL_get0_param(engine), SSL_CTX_get0_param(setup->ctx)) != 1) {
        return false;
    }
    SSL_set_verify(engine, SSL_CTX_get_verify_mode(setup->ctx),
                   SSL_CTX_get_verify_callback(setup->ctx));
    return true;
}

int pco__ssl_client_hello(SSL *engine, int *alert, void *unused)
{
    char name[NAME_MOST + 1];
    pco_ssl_context *context = pco__ssl_call_of(engine)->context;
    (void)unused;
    if (context == NULL || !get_server_name(engine, name)) {
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    slot *held = look_up(context, name);
    if (held == NULL) {
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    pco__ssl_setup *setup = take_setup(held);
    bool switched = switch_setup(engine, setup);
    give_setup(held, setup);
    release_slot(held);
    if (!switched) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}
