/* SPDX-License-Identifier: MIT */
/*
 * See jwt_key.h: a table of algorithms, each with a function that verifies. What a signature is made
 * of is checked by OpenSSL; its length, and how a key may be used, here.
 */
#include "broker/auth/jwt_key.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <xxhash.h>

#include "broker/alloc.h"
#include "broker/err.h"

enum {
    SECRET_LEAST = 32, /* as long as the digest, RFC 7518, section 3.2 */
    SECRET_MAX = 4096,
    RSA_BITS_LEAST = 2048, /* section 3.3 */
    ES256_SIGNATURE = 64,
    SHA256_DIGEST = 32,
};

typedef bool verify_fn(const struct jwt_key *key, struct span text, struct span signature);

struct algorithm {
    const char *name;
    verify_fn *verify;
};

struct jwt_key {
    const struct algorithm *algorithm;
    EVP_PKEY *public; /* NULL: a secret */
    uint8_t *secret;
    size_t secret_len;
    uint64_t fingerprint;
};

/* ---- verifying ------------------------------------------------------------------------------- */

static bool verify_with(EVP_PKEY *key, const EVP_MD *digest, struct span text,
                        struct span signature)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context && EVP_DigestVerifyInit(context, NULL, digest, NULL, key) == 1 &&
                EVP_DigestVerify(context, signature.data, signature.len, text.data, text.len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

static bool verify_rs256(const struct jwt_key *key, struct span text, struct span signature)
{
    return verify_with(key->public, EVP_sha256(), text, signature); /* PKCS #1 v1.5 */
}

static bool verify_eddsa(const struct jwt_key *key, struct span text, struct span signature)
{
    return verify_with(key->public, NULL, text, signature);
}

/* The two numbers one behind the other, which OpenSSL wants in DER. */
static bool verify_es256(const struct jwt_key *key, struct span text, struct span signature)
{
    if (signature.len != ES256_SIGNATURE)
        return false;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature.data, ES256_SIGNATURE / 2, NULL);
    BIGNUM *s = BN_bin2bn(signature.data + ES256_SIGNATURE / 2, ES256_SIGNATURE / 2, NULL);
    uint8_t *der = NULL;
    bool good = false;
    if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* they are the pair's now */
        int len = i2d_ECDSA_SIG(pair, &der);
        good = len > 0 && verify_with(key->public, EVP_sha256(), text, span_of(der, (size_t)len));
    }
    OPENSSL_free(der);
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return good;
}

static bool verify_hs256(const struct jwt_key *key, struct span text, struct span signature)
{
    uint8_t digest[SHA256_DIGEST];
    unsigned len = 0;
    bool good = signature.len == SHA256_DIGEST &&
                HMAC(EVP_sha256(), key->secret, (int)key->secret_len, text.data, text.len, digest,
                     &len) &&
                CRYPTO_memcmp(digest, signature.data, SHA256_DIGEST) == 0;
    OPENSSL_cleanse(digest, sizeof digest);
    return good;
}

static const struct algorithm rs256 = { "RS256", verify_rs256 };
static const struct algorithm es256 = { "ES256", verify_es256 };
static const struct algorithm eddsa = { "EdDSA", verify_eddsa };
static const struct algorithm hs256 = { "HS256", verify_hs256 };

const char *jwt_key_algorithm(const struct jwt_key *key)
{
    return key->algorithm->name;
}

uint64_t jwt_key_fingerprint(const struct jwt_key *key)
{
    return key->fingerprint;
}

bool jwt_key_verifies(const struct jwt_key *key, struct span text, struct span signature)
{
    return key->algorithm->verify(key, text, signature);
}

/* ---- reading --------------------------------------------------------------------------------- */

void jwt_key_free(struct jwt_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->public);
    if (key->secret)
        OPENSSL_cleanse(key->secret, key->secret_len);
    free(key->secret);
    free(key);
}

static bool is_p256(EVP_PKEY *key)
{
    char group[64] = "";
    return EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                          NULL) == 1 &&
           (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0);
}

static const struct algorithm *algorithm_of(EVP_PKEY *key, const char **ret_why)
{
    if (EVP_PKEY_is_a(key, "RSA")) {
        *ret_why = "has an RSA key of less than 2048 bits";
        return EVP_PKEY_get_bits(key) >= RSA_BITS_LEAST ? &rs256 : NULL;
    }
    if (EVP_PKEY_is_a(key, "EC")) {
        *ret_why = "has an EC key that is not of the curve P-256";
        return is_p256(key) ? &es256 : NULL;
    }
    *ret_why = "has a key that is neither RSA, EC, Ed25519 nor Ed448";
    return EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448") ? &eddsa : NULL;
}

static struct jwt_key *new_key(const struct algorithm *algorithm, const void *bytes, size_t len)
{
    struct jwt_key *key = must_have(calloc(1, sizeof *key));
    key->algorithm = algorithm;
    key->fingerprint = XXH3_64bits(bytes, len) | 1;
    return key;
}

static struct jwt_key *read_secret(struct span text, const char **ret_why)
{
    while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
        text.len--; /* what an editor puts there */
    if (text.len < SECRET_LEAST || text.len > SECRET_MAX) {
        *ret_why = "is no PEM, and as a secret for HS256 it must have 32 to 4096 bytes";
        return NULL;
    }
    struct jwt_key *key = new_key(&hs256, text.data, text.len);
    key->secret = must_have(malloc(text.len));
    memcpy(key->secret, text.data, text.len);
    key->secret_len = text.len;
    return key;
}

static bool is_pem(struct span text)
{
    static const char mark[] = "-----BEGIN ";
    return memmem(text.data, text.len, mark, sizeof mark - 1) != NULL;
}

/* The public key of one block: a public key or a certificate. Nothing else is taken: a private key
 * would be one more place where it can be stolen. */
static EVP_PKEY *public_of(const char *name, const uint8_t *der, long len)
{
    if (strcmp(name, PEM_STRING_PUBLIC) == 0)
        return d2i_PUBKEY(NULL, &der, len);
    if (strcmp(name, PEM_STRING_X509) != 0)
        return NULL;
    X509 *certificate = d2i_X509(NULL, &der, len);
    EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;
    X509_free(certificate);
    return key;
}

static struct jwt_key *read_block(const char *name, const uint8_t *der, long len,
                                  const char **ret_why)
{
    EVP_PKEY *public = public_of(name, der, len);
    if (!public) {
        *ret_why = "must hold public keys or certificates in PEM, and nothing else";
        return NULL;
    }
    const struct algorithm *algorithm = algorithm_of(public, ret_why);
    if (!algorithm) {
        EVP_PKEY_free(public);
        return NULL;
    }
    struct jwt_key *key = new_key(algorithm, der, (size_t)len);
    key->public = public;
    return key;
}

static size_t read_pem(struct span text, struct jwt_key **keys, size_t room, const char **ret_why)
{
    BIO *in = BIO_new_mem_buf(text.data, (int)text.len);
    char *name = NULL, *header = NULL;
    uint8_t *der = NULL;
    long len = 0;
    size_t count = 0;
    bool good = in != NULL;
    *ret_why = "holds no block of PEM that is whole";
    while (good && PEM_read_bio(in, &name, &header, &der, &len) == 1) {
        struct jwt_key *key = count < room ? read_block(name, der, len, ret_why) : NULL;
        if (count == room)
            *ret_why = "holds too many keys";
        good = key != NULL;
        if (key)
            keys[count++] = key;
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    BIO_free(in);
    ERR_clear_error();
    while (!good && count > 0)
        jwt_key_free(keys[--count]);
    return count;
}

size_t jwt_keys_read(struct span text, struct jwt_key **keys, size_t room, const char **ret_why)
{
    if (text.len && is_pem(text))
        return read_pem(text, keys, room, ret_why);
    keys[0] = read_secret(text, ret_why);
    return keys[0] ? 1 : 0;
}
