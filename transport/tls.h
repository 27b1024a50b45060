/* SPDX-License-Identifier: MIT */
/*
 * TLS settings. A listener's files are read once into its material; every loop makes an SSL_CTX of
 * its own from it, with the same ticket keys and session id context: so a session begun on one
 * worker is resumed on another.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/err.h"

struct listener_config;
struct lws_context_creation_info;
struct peer;

#define TLS_WHY_MAX 512

/* Before anything else here; again to make all sessions so far unusable. False without random
 * bytes. */
bool tls_new_ticket_keys(void);

/* What a listener's files held when they were read. Immutable, counted, any thread. */
struct tls_material;

/* Reads them, and looks whether they and the settings are usable; `why` names the option, the file
 * and what is wrong. */
MUST_USE enum err tls_material_load(const struct listener_config *listener,
                                    struct tls_material **ret_material, char why[TLS_WHY_MAX]);
struct tls_material *tls_material_ref(struct tls_material *material);
void tls_material_unref(struct tls_material *material); /* accepts NULL */
/* When the first of its certificates ends: milliseconds since 1970. */
uint64_t tls_material_expires(const struct tls_material *material);
/* Another number when one of the files is another one, or was written to. */
uint64_t tls_files_state(const struct listener_config *listener);

/* What a vhost is made with, and gives back: its user pointer. */
struct tls_vhost {
    const struct listener_config *listener;
    unsigned index; /* of the listener */
    struct tls_material *material;
    bool made; /* by tls_vhost_setup() */
};

/* From libwebsockets' hook, when it has made the SSL_CTX of a vhost: 0 or -1. */
int tls_vhost_setup(void *context, struct tls_vhost *vhost);

/* The user name that the client's certificate proves: its common name, or its whole subject. To be
 * freed; NULL: it has none that could be a user name. */
char *tls_identity(const void *ssl, bool subject);

/* Whether the client's certificate stands in a revocation list of these files. */
bool tls_is_revoked(const void *ssl, const struct tls_material *material);

/* Whether the handshake is done; NULL is none. */
bool tls_is_established(const void *ssl);

/* Returns how many bytes were taken (all or none; after none, the same bytes must come again), or
 * -1. */
int tls_write(void *ssl, const void *bytes, size_t len);
/* Says that nothing more will be written. */
void tls_shut(void *ssl);

/* Whom alerts of this SSL are told. */
void tls_set_peer(void *ssl, struct peer *peer);
