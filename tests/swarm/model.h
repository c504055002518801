/* SPDX-License-Identifier: MIT */
/* model.h: the state of a program, see swarm.h. */
#ifndef SWARM_MODEL_H
#define SWARM_MODEL_H

#include "support.h"

#define CONNS_MOST 64
#define SERVERS_MOST 6
#define SERVER_SOCKETS 2
/* Peers come from this port and those that follow. */
#define FIRST_PORT 10000

#define OPENINGS_MOST 16
#define TARGETS_MOST 50
#define QUESTIONS_MOST 64
#define GATES 128 /* so much work on threads */

#define PLACE_SIZE 32 /* of a path, or a pipe's name */

#define SESSIONS_MOST 8
#define CHOICES_MOST 16

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
typedef struct creation creation;
typedef struct upgrade upgrade;

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

/* What carries connections: a server's, or one. */
typedef enum carrier { OVER_TCP, OVER_UNIX, OVER_PIPE } carrier;

typedef enum conn_state { COMING, MADE_CONN, LOST_CONN } conn_state;

struct conn {
    unsigned id;
    carrier carrier;
    int port;                 /* of the peer's, with TCP */
    double began;             /* when it was made */
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
    bool is_impostor; /* it must not become a connection */

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
    upgrade *upgrade; /* TLS is being started on it, or has failed; or NULL */
    uint64_t clear;   /* bytes to the peer that still come before those of TLS */
    bool detached;    /* it has */
    bool recalled;    /* it goes on, and its completion is still to come */

    /* How it may end. */
    bool closed;                     /* by us */
    bool doomed;                     /* its server shuts down, and it was to hear of it */
    bool told;                       /* it has */
    bool cut;                        /* by us, at once: what was written may be lost */
    int lost;                        /* what connection_lost was told */
    uint64_t causes;                 /* a bit for each error that somebody has caused: cause() */
    pco_ssl_context *client_context; /* of TLS, whose client it is; NULL: none */
    void *tls;                       /* the peer's OpenSSL; NULL: plain, or given up */
    bool is_tls;
    bool wants_halves;     /* the option ssl_half_close */
    bool old;              /* one end knows TLS 1.2 at most */
    bool chosen;           /* a certificate was asked for */
    double may_end;        /* its handshake, since its time is up */
    double ends_by;        /* and must have ended */
    unsigned long overdue; /* the turn in which that time was seen to be up; 0: it is not */
    bool notified;         /* the TLS peer has sent its close_notify */
};

struct served {
    world *at;
    unsigned id;
    carrier carrier;
    char place[PLACE_SIZE]; /* the path, or the pipe's name; "": none */
    char name[PLACE_SIZE];  /* that it serves, of portico/local.h; "": none */
    int audience;           /* and to whom */
    pco_server *server;     /* NULL: freed */
    bool tls;
    bool halves; /* the option ssl_half_close */
    bool serving;
    bool closed;
    bool freed; /* pco_server_free was called */
    bool shut_down;
    bool lingers;
    pco_socket sock; /* of the user's; PCO_NO_SOCKET: of addresses */
    size_t max;
    size_t sockets;
    pco__socket_options wanted; /* of its connections' sockets */
    bool prepares;              /* its sockets, of which so many were: */
    unsigned prepared;
    int prepare_code; /* what ended that; 0: nothing */
    bool creating;    /* the call runs */
    fake_socket *listeners[SERVER_SOCKETS];
    uint64_t connects; /* clients that have come */
    uint64_t waits;    /* wait_closed, called */
    uint64_t waited;   /* and told */
};

/*
 * Work on a thread, which stands at a gate until the program opens that: a look-up, or the system's
 * verdict on a server's certificate.
 */
typedef struct gate {
    char service[16]; /* that is looked up; of a verdict, a part of the server's name */
    int port;         /* which it has */
    bool held;
    unsigned begun;     /* in which order; 0: it has not */
    opening *opening;   /* a look-up: for which it is; NULL: */
    creation *creation; /* for this */
    bool is_verdict;
    conn *conn; /* whose handshake asks for the verdict; NULL: it is not there yet */
    void *ssl;  /* the library's part of it, retained; NULL: none, or all is over */
} gate;

/* A server that comes when a look-up has ended. */
struct creation {
    creation *next;
    world *at;
    unsigned id;
    gate *gate;           /* NULL: it looks nothing up */
    served *made;         /* NULL: completed */
    pco_request *request; /* NULL: none, or released */
    bool is_unknown;      /* the service */
    bool canceled;
    bool told;
};

/* What becomes of an attempt to connect. LATE: not before a verb says so. */
typedef enum fate {
    ANSWERS,
    REFUSES,
    ANSWERS_LATE,
    REFUSES_LATE,
    MEETS_ITSELF,
    FATES,           /* so many of TCP's */
    IS_FULL = FATES, /* for a while: a backlog, or the instances of a pipe */
    IS_FULL_FOR_EVER
} fate;

/* Where an opening may connect to. */
typedef struct target {
    pco_address address;
    fate fate;
    int error;      /* with which it refuses */
    served *server; /* which it is; NULL: none of ours */
    unsigned begun; /* how often the opening has told that it connects there */
    bool under_way; /* and that has not failed */
    bool failed;
    unsigned full; /* so often is it so */
} target;

typedef enum shape {
    BY_ADDRESSES,
    BY_NAME,
    BY_LITERAL,
    BY_NOTHING,
    OF_SOCKET,
    ACCEPTED,
    BY_PLACE /* a path, or a pipe */
} shape;

/* A connection that is being opened. */
struct opening {
    opening *next;
    world *at;
    unsigned id;
    shape shape;
    carrier carrier;
    const char *place; /* the path, or the pipe's name, during the call; NULL: none */
    bool is_local;     /* and of portico/local.h, that name: */
    int audience;
    bool has_impostor; /* who serves it is somebody else */
    pco_credentials peer;
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
    double since;    /* of a pipe: when it was first tried; 0: it was not */
    double patience; /* and for how long an instance may be waited for */
    bool has_instance;
    gate *gate;    /* of its service; NULL: none */
    gate *verdict; /* of that on its server; NULL: none */
    pco__socket_options wanted;
    pco_ssl_context *context; /* of a client of TLS */
    bool halves;              /* the option ssl_half_close */
    bool old;                 /* that context knows TLS 1.2 at most */
    double handshake_timeout; /* 0: the usual */
    double handshake_from;    /* 0: unknown */
    uint64_t refusals;        /* with one of these the call must fail, a bit each */
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

/* TLS that is being started. */
struct upgrade {
    upgrade *next;
    world *at;
    conn *of;
    bool serves;
    bool must_fail;
    bool halves;          /* the option ssl_half_close */
    bool old;             /* a client's context knows TLS 1.2 at most */
    gate *verdict;        /* of that on its server; NULL: none */
    proto *given;         /* who is to follow the protocol that is there; NULL: nobody */
    pco_request *request; /* NULL: none, or released */
    bool canceled;
    bool told;
};

/* A session that was kept. */
typedef struct session {
    pco_ssl_session *session;
    pco_ssl_context *context;
} session;

/* A certificate that a handshake asks for. */
typedef struct choice {
    pco_ssl_question *question;
    const pco_ssl_hello *hello;
    conn *of;       /* NULL: unknown */
    bool is_client; /* who asks */
} choice;

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

/* Sockets that are somebody else's, and who hears of each direction: one of two. */
#define FOREIGNS 3

typedef struct hearer {
    world *at;
    unsigned which; /* socket */
    unsigned way;
} hearer;

typedef struct hearing {
    hearer hearers[2];
    const hearer *by;    /* NULL: nobody */
    unsigned long since; /* in which turn that began which has to be told, or it was told */
    unsigned long until; /* in which turn it ended last */
    unsigned long told;  /* in which turn it was told last */
} hearing;

typedef struct foreign {
    fake_socket *socket; /* NULL: there was none yet */
    hearing ways[2];
} foreign;

/* The network, and who hears of its changes: one of two. */
#define NETWORK_KINDS 3

typedef struct watcher {
    world *at;
} watcher;

typedef struct changing {
    watcher watchers[2];
    const watcher *by;                       /* NULL: nobody */
    unsigned may;                            /* what has changed, and may be told */
    unsigned must;                           /* and what has to be */
    unsigned long changed_in[NETWORK_KINDS]; /* in which turn each last did */
    uint64_t since;                          /* when the loop knew; 0: it may not yet */
    unsigned long late;                      /* the turn in which time was up; 0: it is not */
} changing;

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
    bool hosted;               /* pco_loop_host */
    unsigned long hosted_from; /* wake-ups before that */
    unsigned long hosted_last; /* and before the last turn */
    unsigned long hosted_turns;
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
    unsigned lookups;  /* creations that are not complete */
    unsigned creating; /* calls of create_server that run */
    gate gates[GATES];
    unsigned gates_count;
    unsigned gates_begun;
    opening *openings;
    unsigned openings_count;
    question questions[QUESTIONS_MOST];
    unsigned questions_count;
    bool has_resolver;
    bool open_failed;
    bool bind_failed;
    bool pipes_failed;
    bool wish_failed;
    leaving *leavings;
    upgrade *upgrades;
    conn *leaves;  /* its connection_lost is due */
    conn *settles; /* its detaching was called off, and the last callback has said so */
    call *scheduled;
    unsigned scheduled_count;
    handled signals[SIGNALS];
    changing network;
    foreign foreigns[FOREIGNS];
    unsigned long mood_since; /* the turn in which a mood of the backend's changed last */
    owned *owned;
    unsigned owned_count;

    bool was_short; /* of memory, before the last memory_fail */
    bool attach_failed;
    pco_ssl_context *context; /* NULL: not made yet */
    pco_ssl_context *other;   /* for names of SNI; NULL: not made yet */
    pco_ssl_context *clients[4];
    pco_ssl_context *judged[2];   /* clients' whose servers the system judges; of TLS 1.2 at most */
    pco_ssl_context *choosers[2]; /* clients' that ask what to show; the same two */
    bool chooser_has_own[2];      /* a certificate */
    pco_ssl_context *shown[2];    /* clients' with a certificate each */
    session sessions[SESSIONS_MOST];
    unsigned sessions_count;
    choice choices[CHOICES_MOST];
    unsigned choices_count;
    bool names_failed;    /* they could not all be added */
    served *serving;      /* until a signal */
    bool is_asked_to_end; /* that came, and the loop may not have told it yet */
};

#endif
