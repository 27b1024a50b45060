/* SPDX-License-Identifier: MIT */
/*
 * TLS settings, one function for all of an SSL_CTX: used to check a configuration, to set up a
 * vhost and to reload certificates. Owns the ticket keys. An SSL_CTX belongs to one loop's thread;
 * the keys are shared.
 *
 * What libwebsockets does by itself and we undo: its server-name callback chooses among all vhosts
 * of a port, and ours have no port, so it would choose the first one for everybody.
 */
#include "transport/tls.h"

#include <pthread.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "broker/config.h"
#include "broker/log.h"
#include "transport/peer.h"

/* Name, HMAC key, AES key. */
#define TICKET_KEYS_LEN 80

static pthread_mutex_t ticket_lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t ticket_keys[TICKET_KEYS_LEN]; /* (ticket_lock) */
static int peer_index = -1;                  /* of SSL_get_ex_data(); set before threads start */

bool tls_new_ticket_keys(void)
{
    uint8_t fresh[TICKET_KEYS_LEN];
    if (RAND_bytes(fresh, sizeof fresh) != 1)
        return false;
    pthread_mutex_lock(&ticket_lock);
    memcpy(ticket_keys, fresh, sizeof ticket_keys);
    pthread_mutex_unlock(&ticket_lock);
    OPENSSL_cleanse(fresh, sizeof fresh);
    if (peer_index < 0)
        peer_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    return true;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* Says what OpenSSL found wrong with `option value`. */
static enum err failed(char why[TLS_WHY_MAX], const char *option, const char *value,
                       const char *hint)
{
    char reason[256] = "not usable";
    unsigned long code = ERR_peek_error();
    if (code && ERR_SYSTEM_ERROR(code))
        snprintf(reason, sizeof reason, "%s", strerror(ERR_GET_REASON(code)));
    else if (code && ERR_reason_error_string(code))
        snprintf(reason, sizeof reason, "%s", ERR_reason_error_string(code));
    ERR_clear_error();
    snprintf(why, TLS_WHY_MAX, "%s %s: %s%s%s", option, value ? value : "", reason,
             hint ? "; " : "", hint ? hint : "");
    return ERR_INVALID;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* Without this OpenSSL would ask on the terminal, also in the middle of a reload. */
static int no_passphrase(char *buf, int size, int writing, void *ctx)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)ctx;
    return -1;
}

static enum err apply_certificate(SSL_CTX *context, const struct listener_config *listener,
                                  char why[TLS_WHY_MAX])
{
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, listener->certfile) != 1)
        return failed(
            why, "certfile", listener->certfile,
            "it must hold the server's certificate in PEM form, followed by those that signed it");
    if (SSL_CTX_use_PrivateKey_file(context, listener->keyfile, SSL_FILETYPE_PEM) != 1)
        return failed(why, "keyfile", listener->keyfile,
                      "it must hold the private key of certfile in PEM form, without a passphrase");
    if (SSL_CTX_check_private_key(context) != 1)
        return failed(why, "keyfile", listener->keyfile, "it does not belong to certfile");
    return ERR_OK;
}

static enum err apply_authorities(SSL_CTX *context, const struct listener_config *listener,
                                  char why[TLS_WHY_MAX])
{
    X509_STORE *store = X509_STORE_new();
    if (!store)
        return ERR_NO_MEMORY;
    SSL_CTX_set_cert_store(context, store); /* takes it over */
    if (listener->cafile && X509_STORE_load_file(store, listener->cafile) != 1)
        return failed(why, "cafile", listener->cafile, "it must hold certificates in PEM form");
    if (listener->capath && X509_STORE_load_path(store, listener->capath) != 1)
        return failed(why, "capath", listener->capath,
                      "it must be a folder treated with `openssl rehash`");
    if (listener->require_certificate && listener->cafile) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(listener->cafile);
        if (names)
            SSL_CTX_set_client_CA_list(context, names);
    }
    SSL_CTX_set_verify(context,
                       listener->require_certificate
                           ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                           : SSL_VERIFY_NONE,
                       NULL);
    return ERR_OK;
}

static enum err apply_ciphers(SSL_CTX *context, const struct listener_config *listener,
                              char why[TLS_WHY_MAX])
{
    if (SSL_CTX_set_min_proto_version(
            context, listener->tls_version == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1)
        return failed(why, "tls_version", "", NULL);
    if (listener->ciphers && SSL_CTX_set_cipher_list(context, listener->ciphers) != 1)
        return failed(why, "ciphers", listener->ciphers, "see `openssl ciphers`");
    if (listener->ciphers_tls13 && SSL_CTX_set_ciphersuites(context, listener->ciphers_tls13) != 1)
        return failed(why, "ciphers_tls1.3", listener->ciphers_tls13,
                      "see `openssl ciphers -s -tls1_3`");
    return ERR_OK;
}

/* A session may be resumed on any worker, but only through the listener it was begun on. */
static void apply_sessions(SSL_CTX *context, unsigned index)
{
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 1);
    uint8_t id[] = { 'n', 'o', 'c', 't', 'u', 'l', 'e', (uint8_t)(index >> 8), (uint8_t)index };
    SSL_CTX_set_session_id_context(context, id, sizeof id);
    pthread_mutex_lock(&ticket_lock);
    SSL_CTX_set_tlsext_ticket_keys(context, ticket_keys, sizeof ticket_keys);
    pthread_mutex_unlock(&ticket_lock);
}

static enum err tls_apply(SSL_CTX *context, const struct listener_config *listener, unsigned index,
                          char why[TLS_WHY_MAX])
{
    ERR_clear_error();
    enum err err;
    if ((err = apply_certificate(context, listener, why)) ||
        (err = apply_authorities(context, listener, why)) ||
        (err = apply_ciphers(context, listener, why)))
        return err;
    apply_sessions(context, index);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_COMPRESSION);
    ERR_clear_error();
    return ERR_OK;
}

enum err tls_check(const struct listener_config *listener, char why[TLS_WHY_MAX])
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return ERR_NO_MEMORY;
    enum err err = tls_apply(context, listener, 0, why);
    SSL_CTX_free(context);
    return err;
}

enum err tls_reload(void *context, const struct listener_config *listener, unsigned index,
                    char why[TLS_WHY_MAX])
{
    enum err err = tls_check(listener, why); /* all or nothing */
    return err ? err : tls_apply(context, listener, index, why);
}

bool tls_is_established(const void *ssl)
{
    return ssl && SSL_is_init_finished(ssl);
}

int tls_write(void *ssl, const void *bytes, size_t len)
{
    ERR_clear_error();
    int result = SSL_write(ssl, bytes, (int)len);
    if (result > 0)
        return result;
    int error = SSL_get_error(ssl, result);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
}

void tls_shut(void *ssl)
{
    SSL_shutdown(ssl);
    ERR_clear_error();
}

/* ---- what the handshake says ----------------------------------------------------------------- */

void tls_set_peer(void *ssl, struct peer *peer)
{
    if (ssl)
        SSL_set_ex_data(ssl, peer_index, peer);
}

static void on_info(const SSL *ssl, int where, int value)
{
    if (!(where & SSL_CB_ALERT) || (value & 0xff) == SSL_AD_CLOSE_NOTIFY)
        return;
    struct peer *peer = SSL_get_ex_data(ssl, peer_index);
    if (!peer)
        peer = peer_being_adopted();
    if (!peer)
        return;
    long verified = SSL_get_verify_result(ssl);
    if ((where & SSL_CB_WRITE) && verified != X509_V_OK)
        peer->alert = X509_verify_cert_error_string(verified);
    else
        peer->alert = SSL_alert_desc_string_long(value);
}

int tls_vhost_setup(void *context, struct tls_vhost *vhost)
{
    char why[TLS_WHY_MAX] = "out of memory";
    if (tls_apply(context, vhost->listener, vhost->index, why)) {
        log_emit(LEVEL_ERROR, "%s", why);
        return -1;
    }
    SSL_CTX_set_tlsext_servername_callback((SSL_CTX *)context, NULL);
    SSL_CTX_set_info_callback(context, on_info);
    vhost->context = context;
    return 0;
}
