/* SPDX-License-Identifier: MIT */
/*
 * Portico: asyncio's networking for C programs.
 *
 * This header includes all of the public interface, one header per noun, in the order in which
 * you meet them. Each declaration is documented where it stands, once.
 */
#ifndef PORTICO_H
#define PORTICO_H

#include <portico/base.h>
#include <portico/error.h>
#include <portico/address.h>
#include <portico/loop.h>
#include <portico/host.h>
#include <portico/signal.h>
#include <portico/descriptor.h>
#include <portico/interfaces.h>
#include <portico/request.h>
#include <portico/resolver.h>
#include <portico/protocol.h>
#include <portico/transport.h>
#include <portico/ssl_context.h>
#include <portico/ssl.h>
#include <portico/server.h>
#include <portico/connection.h>
#include <portico/start_tls.h>
#include <portico/unix.h>
#include <portico/pipe.h>
#include <portico/local.h>
#include <portico/pass.h>

#endif
