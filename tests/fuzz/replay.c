/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over every file of its corpus folder, without libFuzzer, so that what fuzzing once found is
 * tried again with every compiler and sanitizer. Owns nothing; one thread. A folder that is missing or empty is
 * an error: it would test nothing. Must not change the corpus.
 */
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input lies in a block of exactly its size, so that a read past its end is seen by the address sanitizer. */
static bool replay_open_file(FILE *file, size_t size)
{
    uint8_t *data = malloc(size > 0 ? size : 1);
    if (!data)
        return false;
    bool whole = fread(data, 1, size, file) == size;
    if (whole)
        LLVMFuzzerTestOneInput(data, size);
    free(data);
    return whole;
}

static bool replay_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    /* Before the run: a crash leaves the name of its input as the last line. */
    printf("%s\n", path);
    fflush(stdout);
    bool whole = replay_open_file(file, size);
    fclose(file);
    return whole;
}

/* Returns how many files were run, or -1 when one could not be read. */
static int replay_folder(DIR *folder, const char *name)
{
    int count = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[PATH_MAX];
        struct stat about;
        int length = snprintf(path, sizeof path, "%s/%s", name, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof path || stat(path, &about) != 0) {
            perror(entry->d_name);
            return -1;
        }
        if (!S_ISREG(about.st_mode))
            continue;
        if (!replay_file(path, (size_t)about.st_size)) {
            perror(path);
            return -1;
        }
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (!folder) {
        perror(argv[1]);
        return 1;
    }
    int count = replay_folder(folder, argv[1]);
    closedir(folder);
    if (count < 0)
        return 1;
    printf("%d inputs replayed\n", count);
    return count > 0 ? 0 : 1;
}
