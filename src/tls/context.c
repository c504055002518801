/* SPDX-License-Identifier: MIT */
/*
 * context.c: the context that servers, threads and names of SNI share.
 *
 * A context is in two parts. The slot holds the setup of the moment, which reloading replaces, and
 * refers to nothing else. The context holds a slot and the names, each of which refers to the slot
 * of another context, not to the context: so two contexts may name each other and still be freed.
 * Each part has its mutex; the slot's is taken last, and nothing is called while it is held.
 *
 * A setup that is taken keeps its slot, and so outlives contexts and reloading.
 */
#include <stdio.h>
#include <string.h>

#include "support/memory.h"
#include "system/platform.h"
#include "tls/contexts.h"

/* The longest label of a host name (RFC 1035). */
#define LABEL_MOST 63

typedef struct pco__ssl_slot {
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
    bool is_default;                    /* a loop's own */
    unsigned char id[PCO__SSL_ID_SIZE]; /* the first setup's: tells it from others */
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
    setup->slot = made;
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
    held->references++;
    pco__mutex_unlock(held->mutex);
    return setup;
}

/* Gives up a reference to the setup, but not the one to its slot. */
static void drop_setup(slot *held, pco__ssl_setup *setup)
{
    pco__mutex_lock(held->mutex);
    bool last = --setup->references == 0;
    pco__mutex_unlock(held->mutex);
    if (last) {
        pco__ssl_setup_free(setup);
    }
}

/* Puts another setup, with its one reference, into the slot. */
static void exchange_setup(slot *held, pco__ssl_setup *setup)
{
    setup->slot = held;
    pco__mutex_lock(held->mutex);
    pco__ssl_setup *old = held->setup;
    held->setup = setup;
    pco__mutex_unlock(held->mutex);
    drop_setup(held, old);
}

pco__ssl_setup *pco__ssl_context_take(pco_ssl_context *context)
{
    return take_setup(context->slot);
}

void pco__ssl_setup_give(pco__ssl_setup *setup)
{
    slot *held = setup->slot;
    drop_setup(held, setup);
    release_slot(held);
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
    memcpy(made->id, setup->id, sizeof made->id);
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
    pco__ssl_setup_give(setup);
    return ready;
}

/* Whether an SSL_CTX is for this end; it may be for both. */
static bool serves(const SSL_CTX *ctx, bool client)
{
    return SSL_CTX_get_ssl_method(ctx) != (client ? TLS_server_method() : TLS_client_method());
}

bool pco__ssl_context_fits(pco_ssl_context *context, bool client)
{
    pco__ssl_setup *setup = pco__ssl_context_take(context);
    bool fits = setup->ready ? serves(setup->ctx, client) : context->client == client;
    pco__ssl_setup_give(setup);
    return fits;
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
    pco__ssl_setup *before = pco__ssl_context_take(context);
    code = pco__ssl_keep_sessions(setup, before, error);
    pco__ssl_setup_give(before);
    if (code != 0) {
        pco__ssl_setup_free(setup);
        return code;
    }
    exchange_setup(context->slot, setup);
    return 0;
}

/* Whether a ready SSL_CTX can take the place of the context's. */
static int check_successor(pco_ssl_context *context, const SSL_CTX *ctx, pco_error *error)
{
    int code = 0;
    pco__ssl_setup *setup = pco__ssl_context_take(context);
    if (!setup->ready) {
        code = pco__error_set(error, PCO_EINVAL, 0, "the context is not one of a ready SSL_CTX");
    }
    for (int client = 0; code == 0 && client <= 1; client++) {
        if (serves(setup->ctx, client != 0) && !serves(ctx, client != 0)) {
            code = pco__error_set(error, PCO_EINVAL, 0, "ssl_ctx is not for %s, as the one before",
                                  client != 0 ? "clients" : "servers");
        }
    }
    pco__ssl_setup_give(setup);
    return code;
}

int pco_ssl_context_reload_from_ssl_ctx(pco_ssl_context *context, struct ssl_ctx_st *ssl_ctx,
                                        pco_error *error)
{
    pco__ssl_setup *setup;
    int code = pco__ssl_setup_from_ssl_ctx(ssl_ctx, &setup, error);
    if (code != 0) {
        return code;
    }
    code = check_successor(context, ssl_ctx, error);
    if (code != 0) {
        pco__ssl_setup_free(setup);
        return code;
    }
    exchange_setup(context->slot, setup);
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

void pco__ssl_context_is_default(pco_ssl_context *context)
{
    context->is_default = true;
}

void pco__ssl_context_identify(const pco_ssl_context *context, const pco__ssl_setup *setup,
                               unsigned char *id)
{
    memset(id, 0, PCO__SSL_SESSION_ID_SIZE);
    if (context != NULL && !context->is_default) {
        memcpy(id, context->id, sizeof context->id);
        memcpy(id + sizeof context->id, setup->id, sizeof setup->id);
    }
}

/* ---- Names ---- */

static bool is_label_character(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool pco__ssl_normalize_name(const unsigned char *name, size_t length, bool pattern, char *to)
{
    if (length != 0 && name[length - 1] == '.') {
        length--;
    }
    if (length == 0 || length >= PCO__SSL_NAME_SIZE) {
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
    char normal[PCO__SSL_NAME_SIZE];
    if (other == NULL || other == context) {
        return pco__error_set(error, PCO_EINVAL, 0, "server_name needs a context other than %s",
                              other == NULL ? "NULL" : "its own");
    }
    if (name == NULL ||
        !pco__ssl_normalize_name((const unsigned char *)name, strlen(name), true, normal)) {
        return pco__error_set(error, PCO_EINVAL, 0, "server_name '%.80s' is no host name",
                              name != NULL ? name : "");
    }
    if (!pco__ssl_context_fits(context, false) || !pco__ssl_context_fits(other, false)) {
        return pco__error_set(
            error, PCO_EINVAL, 0, "%s is one for clients: server names are for servers",
            pco__ssl_context_fits(context, false) ? "the other context" : "the context");
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

bool pco__ssl_context_has_names(pco_ssl_context *context)
{
    pco__mutex_lock(context->mutex);
    bool has = context->names_count != 0;
    pco__mutex_unlock(context->mutex);
    return has;
}

/* The name itself wins over a pattern. */
static slot *find_slot(const pco_ssl_context *context, const char *name)
{
    bool found;
    char pattern[PCO__SSL_NAME_SIZE];
    size_t place = find_name(context, name, &found);
    const char *dot = strchr(name, '.');
    if (!found && dot != NULL) {
        snprintf(pattern, sizeof pattern, "*%s", dot);
        place = find_name(context, pattern, &found);
    }
    return found ? context->names[place].slot : NULL;
}

pco__ssl_setup *pco__ssl_context_find(pco_ssl_context *context, const char *name)
{
    pco__mutex_lock(context->mutex);
    slot *held = find_slot(context, name);
    pco__ssl_setup *setup = held != NULL ? take_setup(held) : NULL;
    pco__mutex_unlock(context->mutex);
    return setup;
}
