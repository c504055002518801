/* SPDX-License-Identifier: MIT */
/*
 * none.c: the library without TLS. No context can be made, so nothing else is ever reached
 * with one.
 */
#include "support/error.h"
#include "tls/tls.h"

static int not_supported(pco_error *error)
{
    return pco__error_set(error, PCO_ENOTSUP, 0, "this library was built without TLS");
}

int pco_ssl_context_new(const pco_ssl_context_options *options, pco_ssl_context **context,
                        pco_error *error)
{
    (void)options;
    (void)context;
    return not_supported(error);
}

int pco_ssl_context_new_client(const pco_ssl_context_options *options, pco_ssl_context **context,
                               pco_error *error)
{
    (void)options;
    (void)context;
    return not_supported(error);
}

int pco__ssl_context_of_loop(pco_loop *loop, pco_ssl_context **context, pco_error *error)
{
    (void)loop;
    (void)context;
    return not_supported(error);
}

int pco_ssl_context_from_ssl_ctx(struct ssl_ctx_st *ssl_ctx, pco_ssl_context **context,
                                 pco_error *error)
{
    (void)ssl_ctx;
    (void)context;
    return not_supported(error);
}

int pco_ssl_context_reload(pco_ssl_context *context, const pco_ssl_context_options *options,
                           pco_error *error)
{
    (void)context;
    (void)options;
    return not_supported(error);
}

int pco_ssl_context_reload_from_ssl_ctx(pco_ssl_context *context, struct ssl_ctx_st *ssl_ctx,
                                        pco_error *error)
{
    (void)context;
    (void)ssl_ctx;
    return not_supported(error);
}

int pco_ssl_context_add_server_name(pco_ssl_context *context, const char *server_name,
                                    pco_ssl_context *other, pco_error *error)
{
    (void)context;
    (void)server_name;
    (void)other;
    return not_supported(error);
}

int pco_ssl_question_answer(pco_ssl_question *question, pco_ssl_context *context, pco_error *error)
{
    (void)question;
    (void)context;
    return not_supported(error);
}

void pco_ssl_question_refuse(pco_ssl_question *question)
{
    (void)question;
}

pco_ssl_context *pco_ssl_context_retain(pco_ssl_context *context)
{
    return context;
}

void pco_ssl_context_release(pco_ssl_context *context)
{
    (void)context;
}

int pco__ssl_session_check(const pco_ssl_session *session, pco_ssl_context *context,
                           const char *server_name, pco_error *error)
{
    (void)session;
    (void)context;
    (void)server_name;
    return not_supported(error);
}

/* No session can be made, so these two are never given one. */
pco_ssl_session *pco_ssl_session_retain(pco_ssl_session *session)
{
    return session;
}

void pco_ssl_session_release(pco_ssl_session *session)
{
    (void)session;
}

int pco_ssl_session_serialize(const pco_ssl_session *session, void *buffer, size_t size,
                              size_t *length)
{
    (void)session;
    (void)buffer;
    (void)size;
    (void)length;
    return PCO_ENOTSUP;
}

int pco_ssl_session_parse(const void *data, size_t length, pco_ssl_context *context,
                          pco_ssl_session **session, pco_error *error)
{
    (void)data;
    (void)length;
    (void)context;
    (void)session;
    return not_supported(error);
}

/* There is no TLS connection that could be asked. */
static int ask(const pco_transport *transport)
{
    return pco__transport_is_alive(transport) ? PCO_ENOTSUP : PCO_ECLOSED;
}

int pco_transport_get_peer_certificate(pco_transport *transport, size_t index,
                                       pco_ssl_certificate_info *info)
{
    (void)index;
    (void)info;
    return ask(transport);
}

int pco_transport_get_channel_binding(pco_transport *transport, const char *type, void *buffer,
                                      size_t size, size_t *length)
{
    (void)type;
    (void)buffer;
    (void)size;
    (void)length;
    return ask(transport);
}

int pco_transport_export_keying_material(pco_transport *transport, const char *label,
                                         const void *context, size_t context_length, void *out,
                                         size_t length)
{
    (void)label;
    (void)context;
    (void)context_length;
    (void)out;
    (void)length;
    return ask(transport);
}

int pco_transport_get_ssl_session(pco_transport *transport, pco_ssl_session **session)
{
    (void)session;
    return ask(transport);
}

bool pco__ssl_context_fits(pco_ssl_context *context, bool client)
{
    (void)context;
    (void)client;
    return false;
}

int pco__ssl_put_on(pco_transport *lower, const pco__ssl_options *options, pco__ssl **ssl,
                    pco_error *error)
{
    (void)lower;
    (void)options;
    (void)ssl;
    return not_supported(error);
}

void pco__ssl_cover(pco__ssl *ssl)
{
    (void)ssl;
}

void pco__ssl_begin(pco__ssl *ssl)
{
    (void)ssl;
}
