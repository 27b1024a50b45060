/* SPDX-License-Identifier: MIT */
/*
 * The running program: listeners, workers' loops and their threads, signals, reload and the
 * orderly end. Lives on the main thread, which also runs loop 0; the functions below say who else
 * may call them.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "broker/err.h"
#include "transport/acceptor.h"
#include "transport/certificates.h"
#include "transport/gate.h"
#include "transport/supervisor.h"

struct broker;
struct cli;
struct config;
struct listener;
struct loop;
struct store;

/* (i) immutable once the loops run, (m) main thread, (a) atomic, (L) written by the main thread
 * under the lock */
struct server {
    const struct cli *cli;  /* (i) */
    struct config *config;  /* (L) */
    struct broker *broker;  /* (i) */
    struct store *store;    /* (i) NULL: persistence false */
    char store_path[4096];  /* (i) */
    struct loop *loops;     /* (i) */
    unsigned loop_count;    /* (i) */
    unsigned loops_running; /* (m) threads to join */
    struct listener *listeners;
    size_t listener_count;    /* (i) */
    struct acceptor acceptor; /* (m) */
    struct gate gate;         /* its own lock */
    struct certificates certificates;
    uint64_t wall_base; /* (i) wall clock minus the loops' clock at the start, milliseconds */
    uint64_t descriptor_limit; /* (i) */
    bool pid_file_written;     /* (m) */
    int exit_code;             /* (m) */
    int signal_fd;             /* (i) */
    int ready_fd;          /* (m) tells the program in the foreground that we are up; -1: none */
    uv_poll_t signal_poll; /* (m) */
    uv_timer_t stop_timer; /* (m) */
    struct supervisor supervisor; /* (m) */
    atomic_bool stopping;         /* (a) */
    pthread_mutex_t config_lock;
};

/* Serves until a signal ends it. Takes over the configuration. Returns the exit code of the
 * program. */
int server_run(const struct cli *cli, struct config *config);

/* Any thread. */
bool server_is_stopping(const struct server *server);
/* Any thread: open connections, and those on their way to their loop. */
uint64_t server_connections(const struct server *server);
/* Any thread: a reference to the configuration that holds now. */
struct config *server_config_ref(struct server *server);
/* Any thread: a connection has gone. */
void server_peer_gone(struct server *server);
/* Main thread: loop 0 was woken up. */
void server_on_wake(struct server *server);
