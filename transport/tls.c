/* SPDX-License-Identifier: MIT */
/*
 * TLS settings: what is read from a listener's files, what a vhost's SSL_CTX is made of, and what a
 * client's certificate says. Owns the ticket keys. An SSL_CTX belongs to one loop's thread; the keys
 * and the materials are shared.
 *
 * What libwebsockets does by itself and we undo: its server-name callback chooses among all vhosts
 * of a port, and ours have no port, so it would choose the first one for everybody.
 */
#include "transport/tls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <xxhash.h>

#include "broker/config.h"
#include "broker/log.h"
#include "mqtt/topic.h"
#include "transport/peer.h"

/* Name, HMAC key, AES key. */
#define TICKET_KEYS_LEN 80

#define USER_MAX 65535 /* what a user name of MQTT has at most */

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

static enum err apply_revocations(X509_STORE *store, const struct listener_config *listener,
                                  char why[TLS_WHY_MAX])
{
    if (!listener->crlfile)
        return ERR_OK;
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    if (!lookup || X509_load_crl_file(lookup, listener->crlfile, X509_FILETYPE_PEM) < 1)
        return failed(why, "crlfile", listener->crlfile,
                      "it must hold lists of revoked certificates in PEM form");
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
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
    enum err err = apply_revocations(store, listener, why);
    if (err)
        return err;
    if (listener->require_certificate && listener->cafile) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(listener->cafile);
        if (names)
            SSL_CTX_set_client_CA_list(context, names);
    }
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

/* Everything but what the files hold. */
static enum err apply_settings(SSL_CTX *context, const struct listener_config *listener,
                               char why[TLS_WHY_MAX])
{
    enum err err = apply_ciphers(context, listener, why);
    if (err)
        return err;
    SSL_CTX_set_verify(context,
                       listener->require_certificate
                           ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                           : SSL_VERIFY_NONE,
                       NULL);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_COMPRESSION);
    return ERR_OK;
}

/* ---- what the files hold ----------------------------------------------------------------------- */

struct tls_material {
    atomic_uint references;
    SSL_CTX *context; /* nothing is served with it: it holds certificate, key and authorities */
    uint64_t expires;
};

static uint64_t end_of(const X509 *certificate)
{
    struct tm end;
    if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1)
        return UINT64_MAX;
    time_t seconds = timegm(&end);
    return seconds > 0 ? (uint64_t)seconds * 1000 : 0;
}

static uint64_t first_end(SSL_CTX *context)
{
    STACK_OF(X509) *chain = NULL;
    uint64_t first = end_of(SSL_CTX_get0_certificate(context));
    SSL_CTX_get0_chain_certs(context, &chain);
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (end_of(sk_X509_value(chain, i)) < first)
            first = end_of(sk_X509_value(chain, i));
    return first;
}

enum err tls_material_load(const struct listener_config *listener,
                           struct tls_material **ret_material, char why[TLS_WHY_MAX])
{
    struct tls_material *material = calloc(1, sizeof *material);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    enum err err = material && context ? ERR_OK : ERR_NO_MEMORY;
    ERR_clear_error();
    if (err || (err = apply_certificate(context, listener, why)) ||
        (err = apply_authorities(context, listener, why)) ||
        (err = apply_settings(context, listener, why))) {
        SSL_CTX_free(context);
        free(material);
        return err;
    }
    ERR_clear_error();
    atomic_init(&material->references, 1);
    material->context = context;
    material->expires = first_end(context);
    *ret_material = material;
    return ERR_OK;
}

struct tls_material *tls_material_ref(struct tls_material *material)
{
    atomic_fetch_add_explicit(&material->references, 1, memory_order_relaxed);
    return material;
}

void tls_material_unref(struct tls_material *material)
{
    if (!material || atomic_fetch_sub_explicit(&material->references, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(material->context);
    free(material);
}

uint64_t tls_material_expires(const struct tls_material *material)
{
    return material->expires;
}

/* By which a file is told from what it was before; 0: there is none. */
static uint64_t state_of(int folder, const char *path)
{
    struct stat status;
    if (!path || fstatat(folder, path, &status, 0) != 0)
        return 0;
    const uint64_t facts[] = { (uint64_t)status.st_dev,          (uint64_t)status.st_ino,
                               (uint64_t)status.st_size,         (uint64_t)status.st_mtim.tv_sec,
                               (uint64_t)status.st_mtim.tv_nsec, status.st_mode };
    return XXH3_64bits(facts, sizeof facts) | 1;
}

/* Of all that is in it, in whatever order it is found. */
static uint64_t state_of_folder(const char *path)
{
    DIR *folder = path ? opendir(path) : NULL;
    uint64_t sum = 0;
    if (!folder)
        return 0;
    for (const struct dirent *entry; (entry = readdir(folder));)
        sum += XXH3_64bits_withSeed(entry->d_name, strlen(entry->d_name),
                                    state_of(dirfd(folder), entry->d_name));
    closedir(folder);
    return sum;
}

uint64_t tls_files_state(const struct listener_config *listener)
{
    const uint64_t states[] = {
        state_of(AT_FDCWD, listener->certfile), state_of(AT_FDCWD, listener->keyfile),
        state_of(AT_FDCWD, listener->cafile),   state_of(AT_FDCWD, listener->capath),
        state_of_folder(listener->capath),      state_of(AT_FDCWD, listener->crlfile),
    };
    return XXH3_64bits(states, sizeof states);
}

/* A key of each loop's own: OpenSSL locks what threads share. */
static bool use_key(SSL_CTX *context, EVP_PKEY *key)
{
    EVP_PKEY *own = EVP_PKEY_dup(key);
    bool good = SSL_CTX_use_PrivateKey(context, own ? own : key) == 1;
    EVP_PKEY_free(own);
    return good;
}

static bool use_material(SSL_CTX *context, SSL_CTX *from)
{
    STACK_OF(X509) *chain = NULL;
    X509_STORE *store = SSL_CTX_get_cert_store(from);
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(SSL_CTX_get_client_CA_list(from));
    SSL_CTX_get0_chain_certs(from, &chain);
    if (SSL_CTX_use_certificate(context, SSL_CTX_get0_certificate(from)) != 1 ||
        SSL_CTX_set1_chain(context, chain) != 1 ||
        !use_key(context, SSL_CTX_get0_privatekey(from)) || X509_STORE_up_ref(store) != 1)
        return false;
    SSL_CTX_set_cert_store(context, store);
    SSL_CTX_set_client_CA_list(context, names);
    return true;
}

/* ---- a connection ------------------------------------------------------------------------------ */

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
    if (!peer || peer->conn)
        return;
    long verified = SSL_get_verify_result(ssl);
    if ((where & SSL_CB_WRITE) && verified != X509_V_OK)
        peer->why = X509_verify_cert_error_string(verified);
    else
        peer->why = SSL_alert_desc_string_long(value);
}

int tls_vhost_setup(void *context, struct tls_vhost *vhost)
{
    char why[TLS_WHY_MAX] = "out of memory";
    if (apply_settings(context, vhost->listener, why) ||
        !use_material(context, vhost->material->context)) {
        log_emit(LEVEL_ERROR, "a listener's certificate cannot be used: %s", why);
        ERR_clear_error();
        return -1;
    }
    apply_sessions(context, vhost->index);
    SSL_CTX_set_tlsext_servername_callback((SSL_CTX *)context, NULL);
    SSL_CTX_set_info_callback(context, on_info);
    vhost->made = true;
    return 0;
}

/* ---- who a client is ------------------------------------------------------------------------- */

static char *common_name(X509_NAME *name)
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    unsigned char *text = NULL;
    if (at < 0)
        return NULL;
    int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    char *copy = len > 0 && mqtt_utf8_valid(span_of(text, (size_t)len)) && len <= USER_MAX
                     ? strndup((char *)text, (size_t)len)
                     : NULL;
    OPENSSL_free(text);
    return copy;
}

static char *whole_subject(X509_NAME *name)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *text = NULL, *copy = NULL;
    if (out && X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253) >= 0) {
        long len = BIO_get_mem_data(out, &text);
        if (len > 0 && len <= USER_MAX && mqtt_utf8_valid(span_of(text, (size_t)len)))
            copy = strndup(text, (size_t)len);
    }
    BIO_free(out);
    return copy;
}

char *tls_identity(const void *ssl, bool subject)
{
    X509 *certificate = ssl && SSL_get_verify_result(ssl) == X509_V_OK
                            ? SSL_get0_peer_certificate(ssl)
                            : NULL;
    if (!certificate)
        return NULL;
    X509_NAME *name = X509_get_subject_name(certificate);
    char *identity = subject ? whole_subject(name) : common_name(name);
    ERR_clear_error();
    return identity;
}

/* Looked up, not verified anew: that was done in the handshake, and a list that is not its issuer's
 * own would have let in nobody. */
static bool is_listed(X509_STORE_CTX *lookup, X509 *certificate)
{
    bool listed = false;
    STACK_OF(X509_CRL) *lists = X509_STORE_CTX_get1_crls(lookup, X509_get_issuer_name(certificate));
    for (int i = 0; i < sk_X509_CRL_num(lists); i++) {
        X509_REVOKED *entry;
        listed |= X509_CRL_get0_by_cert(sk_X509_CRL_value(lists, i), &entry, certificate) == 1;
    }
    sk_X509_CRL_pop_free(lists, X509_CRL_free);
    return listed;
}

bool tls_is_revoked(const void *ssl, const struct tls_material *material)
{
    X509_STORE *store = SSL_CTX_get_cert_store(material->context);
    X509 *certificate = ssl ? SSL_get0_peer_certificate(ssl) : NULL;
    X509_STORE_CTX *lookup = certificate ? X509_STORE_CTX_new() : NULL;
    bool revoked = lookup && X509_STORE_CTX_init(lookup, store, NULL, NULL) == 1 &&
                   is_listed(lookup, certificate);
    X509_STORE_CTX_free(lookup);
    ERR_clear_error();
    return revoked;
}
