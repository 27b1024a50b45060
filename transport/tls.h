/* SPDX-License-Identifier: MIT */
/*
 * TLS settings. Every listener with TLS has one SSL_CTX per loop, all of them set up alike by
 * tls_apply(), with the same ticket keys and session id context: so a session begun on one worker
 * is resumed on another.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "broker/err.h"

struct listener_config;
struct lws_context_creation_info;
struct peer;

#define TLS_WHY_MAX 512

/* Before anything else here; again to make all sessions so far unusable. False without random
 * bytes. */
bool tls_new_ticket_keys(void);

/* Whether the listener's files and settings are usable; `why` names the option, the file and what
 * is wrong. */
MUST_USE enum err tls_check(const struct listener_config *listener, char why[TLS_WHY_MAX]);

/* What a vhost is made with, and gives back: its user pointer. */
struct tls_vhost {
    const struct listener_config *listener;
    unsigned index; /* of the listener */
    void *context;  /* SSL_CTX, by tls_vhost_setup() */
};

/* From libwebsockets' hook, when it has made the SSL_CTX of a vhost: 0 or -1. */
int tls_vhost_setup(void *context, struct tls_vhost *vhost);

/* Reads the listener's files again; what fails stays as it was. On the thread that uses the
 * SSL_CTX. */
MUST_USE enum err tls_reload(void *context, const struct listener_config *listener, unsigned index,
                             char why[TLS_WHY_MAX]);

/* Whether the handshake is done; NULL is none. */
bool tls_is_established(const void *ssl);

/* Returns how many bytes were taken (all or none; after none, the same bytes must come again), or
 * -1. */
int tls_write(void *ssl, const void *bytes, size_t len);
/* Says that nothing more will be written. */
void tls_shut(void *ssl);

/* Whom alerts of this SSL are told. */
void tls_set_peer(void *ssl, struct peer *peer);
