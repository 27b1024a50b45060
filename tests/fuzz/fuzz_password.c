/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a password file: each line is somebody, or named as wrong; whoever was read is found
 * again, and nobody else. No password is computed.
 */
#include <stdint.h>
#include <string.h>

#include "broker/auth/password_file.h"
#include "broker/err.h"
#include "broker/log.h"
#include "broker/problems.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void find_everybody(const struct password_file *file, struct span text)
{
    struct span line, user, stored;
    unsigned number = 0;
    while (password_line(&text, &line, &number)) {
        if (!password_split(line, &user, &stored))
            continue;
        const struct password_hash *hash = password_file_find(file, user);
        CHECK(hash || number == 1); /* the mark of some editors is no part of the first name */
        if (hash)
            CHECK(hash->salt_len <= PASSWORD_SALT_MAX && hash->digest_len <= PASSWORD_DIGEST_MAX &&
                  password_memory(hash) <= (size_t)1 << 30);
        CHECK(password_file_decoy(file, user) ||
              number == 1); /* a comment behind that mark: nobody */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct problems problems = { 0 };
    struct password_file *file = password_file_parse(span_of(data, size), "fuzz", &problems);
    char line[PROBLEM_TEXT_MAX + 64];
    CHECK((file == NULL) == (problems.errors > 0));
    for (size_t i = 0; i < problems.count; i++) {
        problem_line(&problems.list[i], line, sizeof line);
        CHECK(log_is_printable(line, strlen(line)));
    }
    if (file)
        find_everybody(file, span_of(data, size));
    password_file_unref(file);
    problems_done(&problems);
    return 0;
}
