/* SPDX-License-Identifier: MIT */
/*
 * See passwd.h: command line, password, and the file's new text in the place of the old one. A
 * program of its own inside ours: one thread, no broker. The file is replaced at once and as a
 * whole, so that a broker that reads it meanwhile, or a crash, sees the old one or the new one.
 */
#include "transport/passwd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "broker/auth/password_edit.h"
#include "broker/auth/password_hash.h"
#include "broker/log.h"
#include "transport/cli.h"
#include "transport/passwd_io.h"

#define USER_MAX 65535

static const char help[] =
    "Makes and changes password files, as mosquitto_passwd does.\n"
    "\n"
    "Usage: noctule passwd [-H KIND] [-c] FILE USER             asks for the password\n"
    "       noctule passwd [-H KIND] [-c] -b FILE USER PASSWORD\n"
    "       noctule passwd -D FILE USER\n"
    "       noctule passwd [-H KIND] -U FILE\n"
    "\n"
    "  -c       Make a new file; what is in an old one is gone.\n"
    "  -b       Take the password from the command line, where others on this machine can see it.\n"
    "  -D       Take USER out.\n"
    "  -U       Hash every password in FILE that is not.\n"
    "  -H KIND  How to hash: argon2id (as long as nothing else is said), sha512-pbkdf2 (for\n"
    "           mosquitto 2.0), or sha512 (for mosquitto before 2.0; not safe if it is stolen).\n"
    "  -I N     Rounds of argon2id or sha512-pbkdf2 instead of the usual number.\n"
    "\n"
    "A broker reads the file again on SIGHUP.\n";

struct request {
    bool create, batch, remove, upgrade;
    enum password_kind kind;
    uint32_t rounds;
    const char *file, *user, *password; /* in argv */
};

static int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Returns the exit code of a failure. */
static int complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("noctule passwd: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return 1;
}

/* ---- the command line ------------------------------------------------------------------------ */

static const struct {
    const char *word;
    enum password_kind kind;
} kinds[] = {
    { "argon2id", PASSWORD_ARGON2ID },
    { "sha512-pbkdf2", PASSWORD_PBKDF2 },
    { "sha512", PASSWORD_SHA512 },
};

static bool take_kind(struct request *request, const char *word)
{
    for (size_t i = 0; word && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(word, kinds[i].word) != 0)
            continue;
        request->kind = kinds[i].kind;
        return true;
    }
    complain("-H needs argon2id, sha512-pbkdf2 or sha512 behind it");
    return false;
}

static bool take_rounds(struct request *request, const char *word)
{
    char *end = NULL;
    unsigned long rounds = word ? strtoul(word, &end, 10) : 0;
    if (!word || *end || rounds < 1 || rounds > 10000000) {
        complain("-I needs a number from 1 to 10000000 behind it");
        return false;
    }
    request->rounds = (uint32_t)rounds;
    return true;
}

/* "-c", "-bc": letters of switches. */
static bool take_switches(struct request *request, const char *letters)
{
    for (; *letters; letters++) {
        switch (*letters) {
        case 'c': request->create = true; break;
        case 'b': request->batch = true; break;
        case 'D': request->remove = true; break;
        case 'U': request->upgrade = true; break;
        default: complain("there is no option -%c; noctule passwd --help", *letters); return false;
        }
    }
    return true;
}

/* More would be refused when the file is read. */
static bool rounds_allowed(const struct request *request)
{
    if (request->kind != PASSWORD_ARGON2ID || request->rounds <= PASSWORD_ARGON2_ROUNDS_MAX)
        return true;
    complain("-I for argon2id is at most %d", PASSWORD_ARGON2_ROUNDS_MAX);
    return false;
}

static bool fits_together(const struct request *request, int words)
{
    int wanted = request->upgrade ? 1 : request->batch ? 3 : 2;
    if (request->create + request->remove + request->upgrade > 1)
        complain("only one of -c, -D and -U");
    else if ((request->remove || request->upgrade) && request->batch)
        complain("-b does not go with -D or -U");
    else if (words != wanted)
        complain("needs %s; noctule passwd --help", request->upgrade ? "FILE"
                                                    : request->batch ? "FILE USER PASSWORD"
                                                                     : "FILE USER");
    else
        return true;
    return false;
}

static bool parse(struct request *request, int argc, char *const argv[])
{
    const char *words[3] = { NULL };
    int count = 0;
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        bool option = options && word[0] == '-' && word[1];
        if (option && strcmp(word, "--") == 0)
            options = false;
        else if (option && strcmp(word, "-H") == 0) {
            if (!take_kind(request, argv[i + 1]))
                return false;
            i++;
        } else if (option && strcmp(word, "-I") == 0) {
            if (!take_rounds(request, argv[i + 1]))
                return false;
            i++;
        } else if (option && count < 2) { /* a password may begin with '-' */
            if (!take_switches(request, word + 1))
                return false;
        } else if (count < 3)
            words[count++] = word;
        else
            count = 4;
    }
    request->file = words[0];
    request->user = words[1];
    request->password = words[2];
    return fits_together(request, count) && rounds_allowed(request);
}

static bool check_user(const char *user)
{
    size_t len = strlen(user);
    if (len == 0 || len > USER_MAX || strchr(user, ':') || !log_is_printable(user, len) ||
        user[0] == '#' || user[0] == ' ' || user[len - 1] == ' ') {
        complain(
            "a user name is 1 to %d bytes of printable UTF-8 without ':', blanks around it, or "
            "'#' in front",
            USER_MAX);
        return false;
    }
    return true;
}

/* ---- doing it -------------------------------------------------------------------------------- */

static bool make(void *ctx, struct span password, char *stored)
{
    const struct request *request = ctx;
    uint8_t salt[PASSWORD_NEW_SALT];
    return RAND_bytes(salt, sizeof salt) == 1 &&
           password_make(request->kind, request->rounds, password, salt, stored) == ERR_OK;
}

static int write_text(const struct request *request, char *text, size_t len)
{
    char why[PASSWD_WHY_MAX];
    enum err err = passwd_replace(request->file, span_of(text, len), why);
    OPENSSL_cleanse(text, len);
    free(text);
    return err ? complain("%s", why) : 0;
}

static int set_user(struct request *request, struct span old)
{
    char password[PASSWD_INPUT_MAX] = "", stored[PASSWORD_TEXT_MAX], why[PASSWD_WHY_MAX];
    size_t len;
    bool found;
    struct span given = request->batch ? span_str(request->password) : (struct span){ 0 };
    if (!request->batch) {
        if (passwd_ask(password, why) != ERR_OK)
            return complain("%s", why);
        given = span_str(password);
    }
    if (given.len == 0)
        return complain("an empty password is none");
    bool made = make(request, given, stored);
    OPENSSL_cleanse(password, sizeof password);
    if (!made)
        return complain("no memory, or no random bytes, to hash the password");
    char *text = password_edit_set(old, span_str(request->user), stored, &len, &found);
    int code = write_text(request, text, len);
    if (code == 0)
        printf("%s %s\n", found ? "Changed the password of" : "Added", request->user);
    return code;
}

static int remove_user(const struct request *request, struct span old)
{
    size_t len;
    bool found;
    char *text = password_edit_remove(old, span_str(request->user), &len, &found);
    if (!found) {
        free(text);
        return complain("there is no user %s in %s", request->user, request->file);
    }
    int code = write_text(request, text, len);
    if (code == 0)
        printf("Removed %s\n", request->user);
    return code;
}

static int upgrade(struct request *request, struct span old)
{
    size_t len, count = 0;
    char *text = password_edit_upgrade(old, make, request, &len, &count);
    if (!text)
        return complain("no memory, or no random bytes, to hash the passwords");
    int code = write_text(request, text, len);
    if (code == 0)
        printf("Hashed %zu password%s\n", count, count == 1 ? "" : "s");
    return code;
}

int passwd_main(int argc, char *const argv[])
{
    struct request request = { .kind = PASSWORD_ARGON2ID };
    char why[PASSWD_WHY_MAX], *text = NULL;
    size_t len = 0;
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(help, argc < 2 ? stderr : stdout);
        return argc < 2 ? CLI_EXIT_USAGE : 0;
    }
    if (!parse(&request, argc, argv) || !request.file)
        return CLI_EXIT_USAGE;
    if (!request.upgrade && (!request.user || !check_user(request.user)))
        return CLI_EXIT_USAGE;
    if (!request.create && passwd_read(request.file, &text, &len, why) != ERR_OK)
        return complain("%s", why);
    struct span old = span_of(text, len);
    int code = request.upgrade  ? upgrade(&request, old)
               : request.remove ? remove_user(&request, old)
                                : set_user(&request, old);
    if (text)
        OPENSSL_cleanse(text, len);
    free(text);
    return code;
}
