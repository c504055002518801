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
 *     swarm.h, world.c   the program's state, chance, steps, the end
 *     protocol.c         the callbacks of connections, and their grammar
 *     rules.c            what holds between turns, and at rest
 *     openings.c         connections that are being opened: callbacks, and what they must tell
 *     pairs.c            connections whose both ends are the library's
 *     posix/threads.c    other threads, in an order that a seed repeats
 *     verbs_*.c          the verbs: a new feature adds a file, and its table to verbs.c
 */
#ifndef SWARM_H
#define SWARM_H

#include "support.h"

#include "support/error.h"

#include <inttypes.h>

#define CONNS_MOST 64
#define SERVERS_MOST 6
#define SERVER_SOCKETS 2
/* Peers come from this port and those that follow. */
#define FIRST_PORT 10000

#define OPENINGS_MOST 16
#define TARGETS_MOST 50
#define QUESTIONS_MOST 64
/* No more attempts are under way at once. */
#define ATTEMPTS_MOST 8

#define ADDRESSES                                                                                  \
    {                                                                                              \
        "127.0.0.1", "127.0.0.2"                                                                   \
    }

/* A program has at most so many decisions and steps. */
#define PICKS_MOST 20000
#define STEPS_MOST 2000

typedef struct world world;
typedef struct conn conn;
typedef struct served served;
typedef struct opening opening;
typedef struct leaving leaving;

/*
 * ---- What a program was ----
 *
 * Written while it runs, where its end cannot destroy it; and given, to run it again. Each step has
 * its own part of the list, so that leaving out one does not change what the others mean.
 */
typedef struct record {
    uint32_t picks[PICKS_MOST];
    unsigned picks_count;
    unsigned starts[STEPS_MOST + 1]; /* of each step, in picks; before the first: the settings */
    unsigned steps;
    uint64_t hash; /* of all that happened */
} record;

/* Where a step begins; the end of the list for those that are not there. */
static inline unsigned record_start(const record *of, unsigned step)
{
    return step < of->steps ? of->starts[step] : of->picks_count;
}

/* ---- The model ---- */

/* A protocol object. It is freed as soon as it is replaced, or in connection_lost. */
typedef struct proto {
    pco_protocol base;
    world *at;
    conn *of;         /* NULL: not made yet */
    opening *opening; /* for which it was made; NULL: for a server */
} proto;

typedef enum conn_state { COMING, MADE_CONN, LOST_CONN } conn_state;

struct conn {
    unsigned id;
    int port;                 /* of the peer's */
    served *server;           /* that has it; NULL: */
    opening *opening;         /* of this */
    conn *linked;             /* the other end, where that is the library's, too */
    size_t relayed;           /* how much of socket->sent it was given */
    fake_socket *socket;      /* until the loop is freed */
    pco_transport *transport; /* from connection_made to connection_lost, or while retained */
    unsigned retained;
    proto *proto;
    conn_state state;
    bool failed_handshake;

    /* To the library. The byte at each position is known: byte_of(). */
    uint64_t fed;
    uint64_t received;
    bool fed_eof;          /* the peer's end of the socket; with TLS the promise is `notified` */
    bool eof;              /* eof_received was called */
    bool paused;           /* reading, by us */
    unsigned char *buffer; /* what get_buffer gave */
    size_t buffer_length;
    bool asked; /* get_buffer was called, buffer_updated not yet */

    /* From the library. */
    uint64_t written; /* in calls that returned 0 */
    uint64_t excess;  /* of a call that failed: a part of it may have left */
    size_t seen;      /* how much of socket->sent was looked at */
    uint64_t arrived; /* of it, what the peer understood */
    bool write_eof;
    bool writing_paused;
    size_t high;
    size_t low;

    leaving *leaving; /* its socket is about to leave, or NULL */
    bool detached;    /* it has */

    /* How it may end. */
    bool closed;     /* by us */
    bool doomed;     /* its server shuts down, and it was to hear of it */
    bool told;       /* it has */
    bool cut;        /* by us, at once: what was written may be lost */
    int lost;        /* what connection_lost was told */
    uint64_t causes; /* a bit for each error that somebody has caused: cause() */
    void *tls;       /* the peer's OpenSSL; NULL: plain, or given up */
    bool is_tls;
    bool notified; /* the TLS peer has sent its close_notify */
};

struct served {
    world *at;
    unsigned id;
    pco_server *server; /* NULL: freed */
    bool tls;
    bool serving;
    bool closed;
    bool freed; /* pco_server_free was called */
    bool shut_down;
    bool lingers;
    pco_socket sock; /* of the user's; PCO_NO_SOCKET: of addresses */
    size_t max;
    size_t sockets;
    fake_socket *listeners[SERVER_SOCKETS];
    uint64_t connects; /* clients that have come */
    uint64_t waits;    /* wait_closed, called */
    uint64_t waited;   /* and told */
};

/* A server that comes when a look-up has ended. */
typedef struct creation {
    struct creation *next;
    world *at;
    unsigned id;          /* and its gate */
    served *made;         /* NULL: completed */
    pco_request *request; /* NULL: none, or released */
    bool held;            /* its thread stands at the gate */
    bool canceled;
    bool told;
} creation;

/* What becomes of an attempt to connect. LATE: not before a verb says so. */
typedef enum fate { ANSWERS, REFUSES, ANSWERS_LATE, REFUSES_LATE, MEETS_ITSELF, FATES } fate;

/* Where an opening may connect to. */
typedef struct target {
    pco_address address;
    fate fate;
    int error;      /* with which it refuses */
    served *server; /* which it is; NULL: none of ours */
    unsigned begun; /* how often the opening has told that it connects there */
    bool under_way; /* and that has not failed */
    bool failed;
} target;

typedef enum shape { BY_ADDRESSES, BY_NAME, BY_LITERAL, BY_NOTHING, OF_SOCKET, ACCEPTED } shape;

/* A connection that is being opened. */
struct opening {
    opening *next;
    world *at;
    unsigned id;
    shape shape;
    bool is_tls;
    bool must_fail; /* its TLS */
    bool tells;     /* its progress */
    bool told;      /* the completion */
    bool canceled;
    bool late;    /* when it was canceled it had been decided */
    bool refused; /* the factory has */
    bool patient; /* no happy eyeballs */
    bool expires; /* it has a connect_timeout */
    bool has_local;
    target targets[TARGETS_MOST];
    size_t count;
    size_t order[TARGETS_MOST]; /* in which they are tried */
    size_t expected;            /* so many of them are */
    size_t next_tried;
    int stage; /* of its progress, the last; 0: none yet */
    int last_failure;
    double began; /* the last attempt */
    bool may_go_on;
    unsigned long ripe; /* the turn in which the next was seen to be due; 0: it is not */
    double delay;
    uint64_t causes;
    proto *given;                  /* the protocol, instead of a factory */
    bool decided;                  /* the protocol has been asked for */
    pco_request *request;          /* NULL: none, or released */
    struct pco__opening *internal; /* the library's, until it is complete; NULL: unknown */
    conn *conn;
};

/* A socket that leaves the loop. */
struct leaving {
    leaving *next;
    world *at;
    conn *of;
    pco_request *request; /* NULL: none, or released */
    bool canceled;
    bool told;
};

/* A name that a loop's resolver was asked for. */
typedef struct question {
    pco_lookup *lookup; /* NULL: answered */
    opening *of;
    world *at;
    bool hears; /* that it is canceled */
    bool canceled;
} question;

/* A callback that the loop was asked for. */
typedef struct call {
    struct call *next;
    world *at;
    unsigned id;
    bool timed;
    bool canceled;
    bool ran;
    bool stops; /* it calls pco_loop_stop and nothing else */
    double when;
    unsigned long made; /* in which turn */
    pco_handle *handle; /* NULL: none, or released */
    bool wants_dropped; /* pco_handle_set_dropped */
    bool dropped;       /* and that was called */
    bool dropping;      /* pco_handle_cancel runs */
} call;

/* Memory that was handed over. */
typedef struct owned {
    struct owned *next;
    world *at;
    unsigned id;
    unsigned char *data;
    unsigned released;
} owned;

/* A signal, and who handles it: one of two, so that each may replace the other. */
#define SIGNALS 2

typedef struct handler {
    world *at;
    unsigned which; /* signal */
} handler;

typedef struct handled {
    handler handlers[2];
    const handler *by;   /* NULL: nobody */
    unsigned untold;     /* how often it came and was not told */
    unsigned long since; /* in which turn it last came or was told */
} handled;

typedef struct verb verb;

struct world {
    uint64_t seed;
    uint64_t chance; /* the state of pick() */
    const record *given;
    unsigned next_given; /* in the part of this step... */
    unsigned end_given;  /* ...which ends here */
    record *record;
    bool trace;
    bool mistaken;
    unsigned steps_most;
    unsigned step;
    unsigned *weights; /* of the verbs, in this program */

    pco_loop *loop;
    bool freeing;
    bool freed;
    bool calm;       /* callbacks do nothing of their own any more */
    unsigned depth;  /* callbacks on the stack */
    unsigned calls;  /* calls of ours into the library on the stack */
    unsigned events; /* callbacks so far */
    conn *current;   /* whose callback runs */
    conn *writing;   /* whose pause_writing may be called inside the running call */
    proto *promised; /* by the factory, and not yet made */
    opening *owed;   /* connection_made has been called, and not yet the completion */

    conn *conns[CONNS_MOST];
    unsigned conns_count;
    served *servers[SERVERS_MOST];
    unsigned servers_count;
    creation *creations;
    unsigned creations_count;
    unsigned lookups; /* creations that are not complete */
    opening *openings;
    unsigned openings_count;
    question questions[QUESTIONS_MOST];
    unsigned questions_count;
    bool has_resolver;
    bool open_failed;
    bool bind_failed;
    leaving *leavings;
    conn *leaves; /* its connection_lost is due */
    call *scheduled;
    unsigned scheduled_count;
    handled signals[SIGNALS];
    owned *owned;
    unsigned owned_count;

    bool was_short; /* of memory, before the last memory_fail */
    bool attach_failed;
    pco_ssl_context *context; /* NULL: not made yet */
    pco_ssl_context *other;   /* for names of SNI; NULL: not made yet */
    pco_ssl_context *clients[4];
    bool names_failed;    /* they could not all be added */
    served *serving;      /* until a signal */
    bool is_asked_to_end; /* that came, and the loop may not have told it yet */
};

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

/* Around each callback: the grammar that all of them have. `inside` is the conn or NULL. */
void enter_callback(world *at, conn *inside, const char *name, uint64_t number);
void leave_callback(world *at, conn *outside);

/* ---- Connections ---- */

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

/* ---- Openings (openings.c) ---- */

bool has_opening(const world *at, bool (*fits)(const opening *of));
opening *pick_opening(world *at, bool (*fits)(const opening *of));

/* Puts the targets in the order in which they must be tried. */
void expect_order(opening *of, int interleave, int family);

/* How many attempts of it are under way. */
unsigned attempts_of(const world *at, const opening *of);

/* The callbacks of its options, and its completion. */
pco_protocol *opening_factory(void *context);
void opening_progress(int stage, const pco_address *address, const pco_error *error, void *context);
int opening_prepare(pco_socket sock, int family, void *context);
void opening_done(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                  void *context);

/* The connection that a socket has become for it. */
conn *opening_conn(world *at, opening *of, fake_socket *socket);
conn *opening_made(world *at, const proto *made, pco_socket sock);

void openings_begin(void); /* once per process */
void meet_peers(world *at);
void check_openings(world *at);
void check_openings_at_rest(world *at);
void check_openings_over(world *at);
void free_openings(world *at);

/* ---- Verbs of clients ---- */

void clients_begin(void); /* once per process */

/* All that are connecting are answered from now on, and all names (verbs_resolver.c). */
void end_silence(world *at);
void answer_all(world *at);

/* ---- Detaching (verbs_detach.c) ---- */

void free_leavings(world *at);

/* ---- Pairs (pairs.c) ---- */

/* Whether such a server takes clients. */
bool is_open_to_clients(const served *of);
conn *connect_to(world *at, served *of);
void pair_up(world *at, conn *client, served *server);

/* Moves at most so many bytes to the other end. Returns whether anything moved. */
bool relay(world *at, conn *of, size_t most);
void check_pair_at_rest(world *at, const conn *of);

/* The peer does what it can: TLS, or the other end. */
bool peer_works(world *at, conn *of, size_t most);

/* ---- Creations (verbs_create.c) ---- */

void end_lookups(world *at);
void free_creations(world *at);

/* ---- Other threads (posix/threads.c) ---- */

/* Runs it on a thread of its own, and waits. */
void thread_run(void (*run)(void *context), void *context);

/* Look-ups of services wait at a gate each, before anything else. FALSE: they fail. */
#define GATES 32
typedef enum gate_state { GATE_CLOSED, GATE_OPEN, GATE_FALSE } gate_state;
void gates_begin(void); /* once per process */
void gate_set(unsigned gate, gate_state state);
void gate_service(unsigned gate, char *service, size_t size); /* the name to look up */

/* How much other threads have posted to the loop, and waiting for one to post more. */
typedef struct post_count {
    size_t posted;
    unsigned long wakes;
} post_count;
post_count posts_now(world *at);
void wait_for_post(world *at, post_count before);

/* Waits until the library's threads have given their memory back. */
void wait_for_threads(void);

/* ---- Calls of the loop (verbs_loop.c) ---- */

bool may_call(const world *at);
bool start_timer(world *at, double delay, bool stops, bool wants_handle);
void check_calls(world *at);
void free_calls(world *at);

/* ---- Signals (verbs_signal.c) ---- */

void check_signals(world *at);

/* ---- TLS (tls.c or no_tls.c) ---- */

extern const bool swarm_has_tls;
void tls_begin(void); /* once per process */
void tls_end(void);
void tls_world_begin(world *at);
void tls_world_end(world *at);
pco_ssl_context *tls_context_of(world *at); /* NULL: no memory */

/* A client's context; one that verifies trusts the server's own certificate, of the name "own". */
pco_ssl_context *tls_client_context_of(world *at, bool verifies, bool old);
void tls_peer_new(world *at, conn *of);
void tls_peer_drop(conn *of);

/* Moves at most so many bytes each way. Returns whether anything moved. */
bool tls_pump(world *at, conn *of, size_t most);
void tls_send(world *at, conn *of, size_t length);

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
extern const verb verbs_create[];
extern const verb verbs_server[];
extern const verb verbs_connection[];
extern const verb verbs_client[];
extern const verb verbs_resolver[];
extern const verb verbs_pair[];
extern const verb verbs_detach[];
extern const verb verbs_peer[];
extern const verb verbs_trouble[];
extern const verb verbs_signal[];
extern const verb verbs_tls[];

unsigned verbs_total(void);
const verb *verb_at(unsigned index);

/* What the world itself does with the loop. */
void turn(world *at, double timeout);
void free_loop(world *at);

#endif
