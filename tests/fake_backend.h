/* SPDX-License-Identifier: MIT */
/*
 * fake_backend.h: a backend with no system below it, for tests. Its time is a number, its sockets
 * are invented numbers that are no descriptors, and an operation ends when and how the test says.
 *
 * The one hard idea: a test does not write results, it writes the world, and results follow from
 * it. Of each socket the fake knows what the peer has sent (fake_feed, fake_feed_eof,
 * fake_feed_error) and how much the system would take (`room`). poll() completes what that allows,
 * as epoll would. With `manual` set it completes only what fake_decide picked, in the order picked,
 * so that a test can walk through every order of completions.
 *
 * Meanwhile the fake holds the library to the four rules of backend.h. A broken rule, and a poll()
 * that would wait for ever, end the program with a sentence on stderr: nothing may jump through
 * the loop.
 *
 *     pco_loop *loop = fake_loop_new();
 *     pco_socket sock = fake_socket_new(loop);
 *     ... make a stream of it, as a server would ...
 *     fake_feed(fake_socket_of(loop, sock), "hello", 5);
 *     pco_loop_run_once(loop, 0);                 data_received
 *
 * By default canceled operations come back as on epoll, before poll() returns; with `cancels_wait`
 * as on completion ports. Servers work on it as well: the fake's own network invents their
 * listeners, those of named pipes, too, and fake_connect clients. Only names are looked up by the
 * system. All of this is for the loop's thread; only the backend's wake and await are for any.
 * There is no descriptor.
 */
#ifndef FAKE_BACKEND_H
#define FAKE_BACKEND_H

#include "system/backend.h"
#include "system/network.h"
#include "system/pipes.h"
#include "system/platform.h"

#include <portico.h>

/* The most ACCEPT operations of one listener. */
#define FAKE_ACCEPTS 4

/* The longest name of a pipe, with its NUL. */
#define FAKE_PIPE_NAME 64

/* Invented sockets have this number and those that follow. */
#define FAKE_FIRST_SOCKET ((pco_socket)0x40000000)

/* When time begins, in seconds. Not 0, as no real clock says 0. */
#define FAKE_START 1000.0

/* What the system is said to have called an error that fake_decide brought about. */
#define FAKE_SYSTEM_CODE(error) (1000 - (error))

/* An operation in flight, as it was submitted. */
typedef struct fake_flight {
    pco__op *op;          /* NULL: none */
    pco__op given;        /* a copy: nothing of it may change */
    unsigned char *bytes; /* of a SEND: what its segments hold */
    size_t length;
    unsigned long order;    /* when it was submitted or decided, among all others */
    unsigned long canceled; /* when it was canceled */
    bool decided;           /* waits for poll(), with what fake_decide said: */
    int error;
    size_t limit;
} fake_flight;

/* Something that ACCEPT brings. */
typedef struct fake_client fake_client;
struct fake_client {
    fake_client *next;
    pco_socket socket;
    pco_address peer;
    int error;
    int system_code;
    size_t turned_away;
};

/* A socket. It is remembered until the loop is freed, and so can be looked at after its end. */
typedef struct fake_socket fake_socket;
struct fake_socket {
    fake_socket *next;
    struct fake_backend *backend;
    pco_socket number;
    pco__io *io;      /* NULL: not attached, or closed and nothing in flight */
    pco_address name; /* what it is bound to; of length 0: nothing */
    pco_address peer; /* of an accepted one; of length 0: nobody has said */
    pco__io_role role;
    pco__socket_options options;  /* what was asked of it, or of a listener's connections */
    fake_flight in[FAKE_ACCEPTS]; /* ACCEPT, RECV or WATCH; ACCEPTs stay when it is closed */
    fake_flight out;              /* CONNECT or SEND */

    /* What the peer has sent and nobody has received. */
    unsigned char *input;
    size_t input_length;
    bool input_eof;
    int input_error; /* comes after the data; a WATCH hears of it at once */
    int input_system_code;
    size_t input_cut; /* the most that one RECV brings; 0: no limit */

    bool silent; /* whom it connects to does not answer: a CONNECT stays */
    void *user;  /* yours */

    /* What the system would take. Yours to change at any time. */
    size_t room;     /* SIZE_MAX, as it is at first: no limit */
    size_t send_cut; /* the most that one call takes; 0: no limit */
    int64_t unsent;  /* what the system is said to hold still; PCO__UNSENT_UNKNOWN */
    int send_error;  /* the next send fails with it */
    int send_system_code;

    /* What has happened. */
    size_t received;
    unsigned char *sent;
    size_t sent_length;
    unsigned sends; /* how many calls and operations sent something */
    bool shut_down;
    bool closed;
    bool taken;   /* fake_take_away */
    bool reset;   /* it was closed so */
    bool opened;  /* the library has, and so has to close it */
    bool is_pipe; /* a handle, and no socket */

    pco_credentials credentials; /* yours to set: who is at the other end */

    /* Of a listener with a path. Its file stays when it is closed, until it is removed. */
    bool has_file;
    bool file_removed;
    bool file_replaced; /* by another, which found it stale */
    bool keeps_file;    /* yours to set: it may stay for good */
    int file_mode;

    /* Of a pipe. */
    char pipe_name[FAKE_PIPE_NAME]; /* "": a client's end that was not opened here */
    bool accepted;                  /* an instance, which has its client and holds the name */
    bool dropped;                   /* one that went with its listener, before it was accepted */

    fake_client *clients; /* of a listener, waiting to be accepted */
};

typedef struct fake_backend {
    pco__backend base;
    fake_socket *sockets;
    pco_socket next_socket;
    int next_port; /* for who binds to any */
    unsigned long order;
    unsigned long polls; /* how often poll() was called */
    unsigned long turns; /* and how often to begin a turn, not to catch up within one */
    uint64_t timeout;    /* of the last poll() */

    pco__mutex *mutex;         /* guards the next three, and `now` while somebody awaits */
    pco__condition *condition; /* one of them has changed */
    unsigned long wakes;
    bool woken;
    bool stop;

    /* Yours to change at any time. */
    uint64_t now;           /* the clock, in nanoseconds */
    uint64_t tick;          /* how long it takes to ask for the time */
    bool manual;            /* nothing completes but what fake_decide picked */
    bool eager;             /* what is submitted during a poll() may complete in the same one */
    bool hold_cancels;      /* what was canceled stays until it is decided, or this is false */
    bool cancels_first;     /* cancels end before other operations, too; otherwise after them */
    bool cancels_wait;      /* what is canceled during a poll() stays until the next one */
    bool receive_on_cancel; /* a RECV canceled from its get_buffer brings its data all the same */
    bool sends_what_came_later; /* a SEND includes what its chain was given after submit() */
    int batch; /* so many operations end in one poll(), as they can; 0: all. The rest waits */
    int port_not_given; /* which no socket is given that connects without one; 0: any is */
    int attach_error;   /* the next attach fails with it; */
    int open_error;     /* so does the next socket that is opened to connect with, */
    int bind_error;     /* the next one that is bound to connect from, */
    int option_error;   /* and the next wish for a connected one, or one to connect with */

    bool files_must_go; /* none of a path may be left in the end, but those that may stay */

    const char *pipe;    /* the name of a pipe that is served elsewhere; NULL: none is */
    int pipe_error;      /* what to open or to serve a pipe fails with, as long as it is not 0 */
    unsigned pipe_opens; /* how often that was tried */
} fake_backend;

/* One ACCEPT per listener, as epoll has; and FAKE_ACCEPTS, as completion ports have many. */
extern const pco__backend_class fake_backend_class;
extern const pco__backend_class fake_backend_wide_class;

/*
 * Yours to set while there is no loop: what is called in the place of the system's list of
 * services, on the thread of the look-up. NULL: the system's.
 */
extern int (*fake_resolve_service)(const char *service, int *port, pco_error *error);

/* Yours to set: the option of sockets that the system lacks. NULL: it has them all. */
extern const char *fake_lacks;

/* Whether they ask for what it lacks. */
bool fake_misses(const pco__socket_options *options);

/* Also so: what is called when a CONNECT is submitted. It may say in *sock what becomes of it. */
extern void (*fake_connecting)(fake_socket *sock, const pco__op *op);

/*
 * Also so: what becomes of who opens a pipe that nobody serves here, 0 or an error; the name is the
 * very one that was given. And what is called when one is open: `instance` is the server's end, if
 * that is here, too, or NULL.
 */
extern int (*fake_asking_for_pipe)(const char *name);
extern void (*fake_pipe_opened)(const char *name, fake_socket *sock, fake_socket *instance);

/* Whether nobody else could have such a pipe, or such a path, now. */
bool fake_pipe_is_served(const pco_loop *loop, const char *name);
bool fake_path_is_taken(const pco_loop *loop, const pco_address *address, bool replace_stale);

/* A loop on the fake, with default options; NULL if there was no memory. */
pco_loop *fake_loop_new(void);

fake_backend *fake_of(const pco_loop *loop);

/* Time passes. */
void fake_advance(pco_loop *loop, double seconds);

/*
 * The world has been changed by writing to a field, between turns of a loop that somebody awaits:
 * who does is told if something can end now, as a system would tell. The functions below tell by
 * themselves.
 */
void fake_tell(pco_loop *loop);

/* How many wake-ups there have been. */
unsigned long fake_wakes(const pco_loop *loop);

/* Invents a connected socket, for pco__stream_new. */
pco_socket fake_socket_new(pco_loop *loop);

/* What is known of a socket, invented or attached; ends the program if there is none. */
fake_socket *fake_socket_of(const pco_loop *loop, pco_socket sock);

/* The peer sends, says that it sends no more, or fails. */
void fake_feed(fake_socket *sock, const void *data, size_t length);
void fake_feed_eof(fake_socket *sock);
void fake_feed_error(fake_socket *sock, int error, int system_code);

/*
 * A client comes to a listener; its socket is returned. `peer` may be NULL. Who really opens a pipe
 * only gets an instance that is free: of each ACCEPT in flight there is one.
 */
size_t fake_free_instances(const pco_loop *loop, pco_socket listener);
pco_socket fake_connect(pco_loop *loop, pco_socket listener, const pco_address *peer);

/* The next ACCEPT fails, having turned away so many clients. */
void fake_accept_error(pco_loop *loop, pco_socket listener, int error, int system_code,
                       size_t turned_away);

/*
 * What was canceled does not end, so the system's socket is taken away from under it: the exception
 * of rule Drained. From then on it ends like anything else that was canceled.
 */
void fake_take_away(fake_socket *sock);

/* Whether such an operation is in flight, and whether it was canceled. */
bool fake_is_in_flight(const fake_socket *sock, pco__op_kind kind);
bool fake_is_canceled(const fake_socket *sock, pco__op_kind kind);

/*
 * Decides how an operation in flight ends, in the next poll(): with 0, as the socket's state has it
 * then, moving `limit` bytes at most (it must be able to end so); with PCO_ECANCELED, if it was
 * canceled; otherwise with that error. What is decided before it is canceled ends so all the same:
 * the real result came first. Returns false, and decides nothing, if it cannot end so. A decision
 * lapses if the room, or the client, is gone when its time comes.
 */
bool fake_decide(fake_socket *sock, pco__op_kind kind, int error, size_t limit);

/* How many operations of all sockets are in flight. */
size_t fake_in_flight(const pco_loop *loop);

#endif
