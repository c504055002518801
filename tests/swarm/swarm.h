/* SPDX-License-Identifier: MIT */
/*
 * swarm.h: random programs over the public interface, on the fake backend, against rules.
 *
 * A program is a row of steps, each a verb with its arguments: create a server, write, half-close,
 * free the loop. Verbs run between the turns of the loop and inside callbacks. Whatever is left to
 * chance goes through pick(), so a program is a list of numbers, from a seed or given: the same
 * list is the same program, and a shorter list is a simpler one. 0 is always the plainest choice.
 *
 * The world knows what must be true: what each connection was promised, how far each stream of
 * bytes has come, which callbacks are due. The rules are the sentences of the headers. A rule that
 * is broken ends the process; the runner (posix/main.c) finds the shortest list that does so.
 *
 *     model.h, world.c   the program's state, chance, steps, the end
 *     conns.c            connections
 *     protocol.c         their callbacks, and the grammar of these
 *     rules*.c           what holds between turns, and at rest
 *     openings.c         connections that are being opened: callbacks, and what they must tell
 *     targets.c          where these may connect to
 *     pairs.c            connections whose both ends are the library's
 *     tls*.c             the peers of TLS connections
 *     client_choice.c    clients that are asked which certificate to show
 *     lookups.c          work on threads, and the gates at which it stands
 *     posix/threads.c    other threads, in an order that a seed repeats
 *     verbs_*.c          the verbs: a new feature adds a file, and its table to verbs.c
 */
#ifndef SWARM_H
#define SWARM_H

#include "model.h"

#include "fake_local.h"
#include "support/error.h"

#include <inttypes.h>

/* Runs one program, from a seed, or from `given` if that is not NULL. It returns if all is well. */
typedef struct program {
    uint64_t seed;
    const record *given;
    unsigned steps;
    bool trace;
    bool mistaken; /* one byte of a peer's is wrong, so that a rule must break */
} program;

void swarm_begin(void); /* once per process */
void swarm_end(void);
void swarm_run(const program *what, record *record);

/* The program that runs, for what is called without a context. */
extern world *running;

/* ---- Chance ---- */

/* A number below `limit`; 0 when those given for this step are used up. */
uint32_t pick(world *at, uint32_t limit);

/* True once in `limit` times. */
bool pick_rarely(world *at, uint32_t limit);

/* A length, of every order of magnitude up to 200,000. Never 0. */
size_t pick_length(world *at);

/* ---- Rules ---- */

/* A rule is broken: prints the sentence and ends the process. */
void broken(world *at, const char *format, ...) PCO__PRINTF(2, 3);

/* Part of the trace. */
void say(world *at, const char *format, ...) PCO__PRINTF(2, 3);

/* That something happened, for the hash. */
void happened(world *at, const char *what, uint64_t number);

/* Whether the library may have met an allocation that failed. */
bool memory_was_short(const world *at);
void memory_recover(world *at);

/* An error that the connection may end with from now on. */
void cause(conn *of, int error);
static inline uint64_t cause_bit(int error)
{
    return (uint64_t)1 << -error;
}

/* Everything that must hold while no callback runs. */
void check_between_turns(world *at);

/* Runs until nothing moves any more, and checks that nothing is left over. */
void come_to_rest(world *at);

/* ---- Calls into the library ---- */

/* Around each call, but for those that run the loop: callbacks must not run inside. */
void enter_library(world *at, conn *writing);
void leave_library(world *at);

/* What callbacks do once their rules are checked: now and then some verbs. */
void act_in_callback(world *at);

/*
 * Around a callback that may come inside a call of ours, and may do what it likes there.
 */
typedef struct inner {
    unsigned calls;
    conn *current;
} inner;
inner enter_inner(world *at, conn *inside, const char *name, uint64_t number);
void leave_inner(world *at, inner outside);

/* Around each callback: the grammar that all of them have. `inside` is the conn or NULL. */
void enter_callback(world *at, conn *inside, const char *name, uint64_t number);
void leave_callback(world *at, conn *outside);

/* ---- Connections (conns.c) and their protocols (protocol.c) ---- */

/* The byte at a position of a connection's stream; `out` is the library's side of it. */
unsigned char byte_of(const conn *of, bool out, uint64_t position);

/* Exactly `length` bytes of malloc's with what comes next in the stream. */
unsigned char *bytes_from(const conn *of, bool out, uint64_t position, size_t length);

/* Fails unless the bytes are those of the stream at that position. */
void check_bytes(world *at, const conn *of, bool out, uint64_t position, const unsigned char *data,
                 size_t length);

/* Looks at what the peer was sent since. */
void look_at_sent(world *at, conn *of);

proto *proto_new(world *at);
pco_protocol *proto_factory(void *context); /* the context is a served */
void handshake_failed(pco_server *server, const pco_address *peer, const pco_error *error,
                      void *context); /* the same */

/* One of the connections in that state, NULL if there is none; the current one for preference. */
conn *pick_conn(world *at, conn_state state);
bool has_conn(const world *at, conn_state state);
bool is_attached(const conn *of);
conn *find_conn(const world *at, pco_socket sock);

/* Whether there may be one more; and a new one. */
bool may_have_conn(const world *at);
conn *conn_new(world *at, fake_socket *socket, bool is_tls);

/* Whether its peer may still act, and is no connection of ours. */
bool has_own_peer(const conn *of);

/* Whether each direction ends for itself: a socket's, or of TLS 1.3 with the option. */
bool has_halves(const conn *of);

/* Whether it may stay open when the peer has ended: that, or a pipe, to no use. */
bool may_stay_open(const conn *of);

/* Somebody has closed the other end: of a pipe, what is written then may meet with that. */
void peer_has_closed(world *at, conn *of);

/* So much was sent to it: what it may receive. */
uint64_t fed_to(const conn *of);

/* Whether it is not what was said of its peer that ends it. */
bool is_justified(const world *at, const conn *of, int error);

/* We have closed it, or cut it off. */
void mark_closed(conn *of, bool cut);

/* A server that has not been freed, NULL if there is none. */
served *pick_server(world *at);
bool has_server(const world *at);

/* pco_server_shutdown is about to be called. */
void mark_all_shut_down(world *at, served *of, bool has_deadline);

/* ---- Openings (openings.c; rules_openings.c: the checks) ---- */

bool has_opening(const world *at, bool (*fits)(const opening *of));
opening *pick_opening(world *at, bool (*fits)(const opening *of));

/* The callbacks of its options, and its completion. */
pco_protocol *opening_factory(void *context);
void opening_progress(int stage, const pco_address *address, const pco_error *error, void *context);
int opening_prepare(pco_socket sock, int family, void *context);
void opening_done(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                  void *context);

/* The connection that a socket has become for it; and one whose other end is the model's matter. */
conn *opening_conn(world *at, opening *of, fake_socket *socket);
conn *opening_conn_new(world *at, opening *of, fake_socket *socket);
conn *opening_made(world *at, const proto *made, pco_socket sock);

void meet_peers(world *at);
void check_openings(world *at);
void check_openings_at_rest(world *at);
void check_openings_over(world *at);
void free_openings(world *at);

/* ---- Where they may connect to (targets.c) ---- */

void targets_begin(void); /* once per process */

/* Puts the targets in the order in which they must be tried. */
void expect_order(opening *of, int interleave, int family);

/* Which has that address; NULL: none. */
target *find_target(opening *of, const pco_address *address);

/* The attempt of a socket, NULL if it has none; and how many of an opening are under way. */
fake_flight *attempt_of(fake_socket *sock);
unsigned attempts_of(const world *at, const opening *of);

/* ---- What servers and clients may wish of sockets (choices.c) ---- */

/* A wish that cannot be granted must be refused so, at once. 0: it can be. */
typedef struct wish {
    pco__socket_options options;
    int refusal;
} wish;

wish choose_wish(world *at);
bool is_granted(const pco__socket_options *wanted, const pco__socket_options *has);

#define GIVE_WISH(to, wish_)                                                                       \
    ((to)->keep_alive = (wish_).options.keep_alive,                                                \
     (to)->keep_alive_idle = (wish_).options.keep_alive_idle,                                      \
     (to)->keep_alive_interval = (wish_).options.keep_alive_interval,                              \
     (to)->keep_alive_count = (wish_).options.keep_alive_count,                                    \
     (to)->user_timeout = (wish_).options.user_timeout)

/* ---- Clients of TLS (tls_clients.c) ---- */

/* What one has, until it has been copied. */
typedef struct tls_client {
    bool must_fail;           /* the server cannot show what it wants */
    bool old;                 /* it knows TLS 1.2 at most */
    pco_ssl_context *context; /* NULL: no memory */
    char name[40];            /* that the server must show */
    pco_ssl_session *session; /* NULL: none */
    gate *verdict;            /* of the system's on the server; NULL: it is not asked */
    uint64_t refusals;        /* with one of these the call must fail, a bit each */
} tls_client;

void choose_tls_client(world *at, tls_client *made);

/* ---- Verbs of clients (verbs_client.c, verbs_socket.c) ---- */

/* What options point to, until they have been copied. */
typedef struct option_texts {
    char host[PCO_ADDRESS_TEXT_SIZE];
    char service[16];
    char local_host[16];
    char place[2 * PLACE_SIZE];
    tls_client tls;
    pco_address addresses[TARGETS_MOST];
} option_texts;

void clients_begin(void); /* once per process */
void sockets_begin(void);

opening *opening_new(world *at, shape how);
bool may_open(const world *at);

/* One that verifies is content with "own" alone; and what is left, but for the place. */
void choose_client_tls(world *at, opening *of, pco_connection_options *options, option_texts *with);
void choose_halves(world *at, opening *of, pco_connection_options *options);
void choose_rest(world *at, opening *of, pco_connection_options *options);

/* The call. What holds the request, unless nobody wants it, is known by it. */
bool begin_opening(world *at, opening *made, const pco_connection_options *options);
served *pick_open_server(world *at, carrier by);

/* All that are connecting are answered from now on, and all names (verbs_resolver.c). */
void end_silence(world *at);
void answer_all(world *at);

/* ---- Detaching (verbs_detach.c) ---- */

void free_leavings(world *at);

/* ---- Starting TLS (verbs_start_tls.c) ---- */

void free_upgrades(world *at);

/* ---- Sessions (verbs_session.c) ---- */

void free_sessions(world *at);

/* ---- The system's verdicts (verbs_verdict.c) ---- */

/* It is given, the plainest, or another. */
void verdict_give(world *at, gate *of, bool plainest);

/*
 * Whether somebody waits for it; whether nobody will, and the handshake knows it; and notes what
 * became of one that came too late, or never.
 */
bool verdict_is_awaited(const gate *of);
bool verdict_is_given_up(const gate *of);
void verdict_look_after(gate *of);
void verdict_forget(gate *of);

/* ---- What handshakes ask (verbs_choice.c) ---- */

/* Gives every question the plainest answer. Whether there were any. */
bool answer_choices(world *at);
void check_choices(world *at);

/* Whether one about it waits for its answer. */
bool awaits_choice(const world *at, const conn *of);

/* ---- Pairs (pairs.c) ---- */

/* Whether such a server takes clients, and may be connected to now. */
bool is_open_to_clients(const served *of);
conn *connect_to(world *at, served *of);

/* The other end of one that has come to a server: this socket. */
conn *conn_of_server(world *at, served *of, fake_socket *socket);
void pair_up(world *at, conn *client, served *server);
void link_up(conn *client, conn *other);

/* Who the other end of a connection is. */
static inline pco_credentials credentials_of(unsigned id)
{
    return (pco_credentials){.user = 2000 + id, .group = id, .process = 5000 + id};
}

/* Who may be at the other end of a name, or may not. */
static inline pco_credentials who_is(unsigned id, int audience, bool is_impostor)
{
    pco_credentials made = credentials_of(id);
    bool by_user = audience == PCO_LOCAL_USER;
    made.user = by_user != is_impostor ? FAKE_LOCAL_SELF : made.user;
    made.group = by_user == is_impostor ? FAKE_LOCAL_SELF : made.group;
    return made;
}

/* How an error is told: of a name that nobody serves, always so. */
static inline int told_as(const opening *of, int error)
{
    return of->is_local && error == PCO_ENOENT ? PCO_ECONNREFUSED : error;
}

/* The opening whose the library's is. */
opening *opening_of_internal(const struct pco__opening *internal);

/* Moves at most so many bytes to the other end. Returns whether anything moved. */
bool relay(world *at, conn *of, size_t most);
void check_pair_at_rest(world *at, const conn *of);

/* The peer does what it can: TLS, or the other end. */
bool peer_works(world *at, conn *of, size_t most);

/* ---- Creations (verbs_create.c) ---- */

/* A server with its options, all but the place. *refusal: with which it must be refused; 0: none */
served *server_new(world *at, carrier by, pco_server_options *options, int *refusal);
int server_prepare_socket(pco_socket sock, int family, void *context);
bool may_create(const world *at);
void server_welcome(world *at, served *made, pco_server *server);

/* A failed call: whether it may have ended so, but for what its place is the reason of. */
bool may_fail_to_create(const world *at, const served *of, int code, int refusal);
void check_prepares(world *at, const served *of, int code);

/* ---- Paths and pipes (verbs_unix.c, verbs_pipe.c) ---- */

void check_files(world *at);
void check_locks(world *at);
void pipes_begin(void); /* once per process */
bool waits_for_instance(const world *at, const opening *of);

void free_creations(world *at);

/* ---- Work on threads (lookups.c) ---- */

/* Look-ups and verdicts wait at a gate each, before anything else. FALSE: they fail. */
typedef enum gate_state { GATE_CLOSED, GATE_OPEN, GATE_FALSE } gate_state;

bool has_gate_left(const world *at, bool for_verdict);
bool is_any_held(const world *at);

/* A gate for work that begins now (a look-up of a creation's), or soon. */
gate *gate_take(world *at, gate wanted);
unsigned gate_number(const world *at, const gate *of);

/* Its thread has been asked for, and will stand there, unless there is no memory. NULL: none. */
void gate_begins(world *at, const gate *of);

/* Nobody waits for it any more. NULL: there was none. */
void gate_leave(world *at, gate *of);

/* Those that are over. */
void look_after_gates(world *at);

/* It has begun, and ends now. */
void gate_let_through(world *at, gate *of, gate_state state, int port);

/* One that has begun; of a few that may share a thread, the first. NULL: none. */
bool has_begun(const world *at, bool verdict);
gate *pick_begun(world *at, bool verdict);

/* Of all that have begun; whether there were any. */
bool end_lookups(world *at);

/* ---- Other threads (posix/threads.c) ---- */

/* Runs it on a thread of its own, and waits. */
void thread_run(void (*run)(void *context), void *context);

void gates_begin(void); /* once per process */
void gate_set(unsigned number, gate_state state, int port);

/* On the library's thread: waits until it is open, or false. */
gate_state gate_wait(const char *service, int *port);

/*
 * Waits until who was let through is gone, or at the next gate, and somebody at this one, unless
 * that is GATES: how many threads there are decides on whether one more needs memory.
 */
void gates_settle(world *at, unsigned number);
void gate_service(unsigned number, char *service, size_t size); /* the name to look up */

/* How much other threads have posted to the loop, and waiting for one to post more. */
typedef struct post_count {
    size_t posted;
    unsigned long wakes;
} post_count;
post_count posts_now(world *at);

/* The same, where calls of the library would take what was posted before. */
post_count posts_taken(world *at);
void wait_for_post(world *at, post_count before);

/* pco_loop_host's wake_up; how often it was called; and waiting until it has been more often. */
void host_wake_up(void *context);
unsigned long host_wakes(void);
void wait_for_host(world *at, unsigned long before);

/* Makes a pair of real sockets, and sees whether it is as promised: their names. */
void check_real_pair(world *at, pco_address names[2]);

/* Waits until the library's threads have given their memory back. */
void wait_for_threads(void);

/* ---- Calls of the loop (verbs_loop.c) ---- */

bool may_call(const world *at);
bool start_timer(world *at, double delay, bool stops, bool wants_handle);
void check_calls(world *at);
void free_calls(world *at);

/* ---- Hosts (verbs_host.c) ---- */

/* The turn that the host does, after it has waited so long at most. */
void host_turn(world *at, double timeout);

/* What a sum of seconds may be wrong by. */
#define MOMENT 1e-6

/* Whether a turn is due, or will be in so many seconds. */
bool is_due(world *at, double timeout);

/* ---- Signals (verbs_signal.c) ---- */

bool has_untold_signal(const world *at);
void check_signals(world *at);

/* ---- Sockets of somebody else's (verbs_readers.c) ---- */

void check_readers(world *at);

/* ---- Changes of the network (verbs_network.c) ---- */

void check_network(world *at);
void check_network_over(world *at);

/* ---- TLS (tls.c, tls_peer.c; or no_tls.c) ---- */

extern const bool swarm_has_tls;
void tls_begin(void); /* once per process */
void tls_end(void);
void tls_world_begin(world *at);
void tls_world_end(world *at);
pco_ssl_context *tls_context_of(world *at); /* NULL: no memory */

/* What a handshake may take by itself, and so long at most with an option that says `seconds`. */
#define HANDSHAKE_TIMEOUT 60
static inline double handshake_limit(double seconds)
{
    return seconds > 0 ? seconds : HANDSHAKE_TIMEOUT;
}

/* A client's context; one that verifies trusts the server's own certificate, of the name "own". */
pco_ssl_context *tls_client_context_of(world *at, bool verifies, bool old);
void tls_peer_new(world *at, conn *of);
void tls_peer_begin(world *at, conn *of, bool serves);
void tls_peer_drop(conn *of);

/* Moves at most so many bytes each way. Returns whether anything moved. */
bool tls_pump(world *at, conn *of, size_t most);
void tls_send(world *at, conn *of, size_t length);

/* Whether the peer has been told that no more comes. */
bool tls_has_heard_end(const conn *of);

/* The socket ended: before the close_notify, TLS is cut off. */
void tls_cut_off(conn *of);

/* ---- Verbs ---- */

typedef enum place {
    ANYWHERE, /* between turns, and inside callbacks */
    OUTSIDE   /* between turns only */
} place;

struct verb {
    const char *name;
    unsigned weight;
    place where;
    bool (*can)(const world *at); /* NULL: always */
    void (*act)(world *at);
};

/* Tables end with a verb without a name. */
extern const verb *const verb_tables[];
extern const verb verbs_loop[];
extern const verb verbs_host[];
extern const verb verbs_create[];
extern const verb verbs_lookup[];
extern const verb verbs_socket[];
extern const verb verbs_server[];
extern const verb verbs_connection[];
extern const verb verbs_client[];
extern const verb verbs_unix[];
extern const verb verbs_local[];
extern const verb verbs_pipe[];
extern const verb verbs_resolver[];
extern const verb verbs_pair[];
extern const verb verbs_detach[];
extern const verb verbs_peer[];
extern const verb verbs_trouble[];
extern const verb verbs_signal[];
extern const verb verbs_network[];
extern const verb verbs_readers[];
extern const verb verbs_tls[];
extern const verb verbs_start_tls[];
extern const verb verbs_session[];
extern const verb verbs_choice[];
extern const verb verbs_verdict[];

unsigned verbs_total(void);
const verb *verb_at(unsigned index);

/* What the world itself does with the loop. */
void turn(world *at, double timeout);
void free_loop(world *at);

#endif
