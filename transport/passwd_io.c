/* SPDX-License-Identifier: MIT */
/*
 * See passwd_io.h. One thread. The terminal is the caller's: whatever ends this while its echo is
 * off puts it back.
 */
#include "transport/passwd_io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <openssl/crypto.h>

#define FILE_BYTES_MAX (256u * 1024u * 1024u)

static enum err failed(char why[PASSWD_WHY_MAX], const char *path, const char *what)
{
    int error = errno;
    snprintf(why, PASSWD_WHY_MAX, "%s %s: %s", path, what, strerror(error));
    return (enum err) - error;
}

/* ---- reading --------------------------------------------------------------------------------- */

enum err passwd_read(const char *path, char **ret_text, size_t *ret_len, char why[PASSWD_WHY_MAX])
{
    struct stat status;
    enum err err = ERR_OK;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return failed(why, path,
                      errno == ENOENT ? "cannot be read (-c makes a new one)" : "cannot be read");
    if (fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode) ||
        status.st_size > (off_t)FILE_BYTES_MAX) {
        errno = EINVAL;
        err = failed(why, path, "is not a file that could be a password file");
        fclose(file);
        return err;
    }
    size_t size = (size_t)status.st_size;
    char *text = malloc(size + 1);
    if (!text) {
        fclose(file);
        errno = ENOMEM;
        return failed(why, path, "cannot be read");
    }
    size_t len = fread(text, 1, size, file);
    if (ferror(file)) {
        err = failed(why, path, "cannot be read");
        free(text);
    } else {
        *ret_text = text;
        *ret_len = len;
    }
    fclose(file);
    return err;
}

/* ---- replacing ------------------------------------------------------------------------------- */

static bool write_all(int fd, struct span text)
{
    while (text.len > 0) {
        ssize_t written = write(fd, text.data, text.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        text = span_of(text.data + written, text.len - (size_t)written);
    }
    return true;
}

/* As the old file: a broker that runs as another user must still be able to read it. */
static bool take_owner(int fd, const char *path)
{
    struct stat old;
    if (stat(path, &old) != 0)
        return errno == ENOENT;
    if ((old.st_uid != geteuid() || old.st_gid != getegid()) &&
        fchown(fd, old.st_uid, old.st_gid) != 0)
        return false;
    return fchmod(fd, (old.st_mode & 0770) | 0600) == 0;
}

/* The rename is on disk when its folder is. */
static bool sync_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1,
             slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
    if (fd >= 0)
        close(fd);
    return good;
}

enum err passwd_replace(const char *path, struct span text, char why[PASSWD_WHY_MAX])
{
    char fresh[4200];
    char *real = realpath(path, NULL); /* where a symbolic link points to */
    const char *target = real ? real : path;
    enum err err = ERR_OK;
    if (snprintf(fresh, sizeof fresh, "%s.XXXXXX", target) >= (int)sizeof fresh) {
        errno = ENAMETOOLONG;
        err = failed(why, path, "cannot be written");
        free(real);
        return err;
    }
    int fd = mkostemp(fresh, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        err = failed(why, path, "cannot be written");
        free(real);
        return err;
    }
    bool good = take_owner(fd, target) && write_all(fd, text) && fsync(fd) == 0;
    int error = errno;
    if (close(fd) != 0 && good) {
        error = errno;
        good = false;
    }
    errno = error;
    if (!good || rename(fresh, target) != 0 || !sync_folder(target)) {
        err = failed(why, path, "cannot be written");
        unlink(fresh);
    }
    free(real);
    return err;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static struct termios terminal; /* as it was */

static void put_terminal_back(int number)
{
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal);
    signal(number, SIG_DFL);
    raise(number);
}

/* One line without its end. False at the end of the input, and when it is too long. */
static bool read_line(char line[PASSWD_INPUT_MAX])
{
    if (!fgets(line, PASSWD_INPUT_MAX, stdin))
        return false;
    size_t len = strcspn(line, "\r\n");
    bool whole = line[len] || feof(stdin);
    line[len] = '\0';
    return whole;
}

static bool ask_once(const char *question, char line[PASSWD_INPUT_MAX])
{
    struct termios silent = terminal;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    fputs(question, stderr);
    fflush(stderr);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    bool good = read_line(line);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal);
    fputc('\n', stderr);
    return good;
}

static bool ask_terminal(char first[PASSWD_INPUT_MAX], char second[PASSWD_INPUT_MAX])
{
    static const int enders[] = { SIGINT, SIGTERM, SIGQUIT, SIGHUP };
    for (size_t i = 0; i < sizeof enders / sizeof *enders; i++)
        signal(enders[i], put_terminal_back);
    bool good = ask_once("Password: ", first) && ask_once("Again: ", second);
    for (size_t i = 0; i < sizeof enders / sizeof *enders; i++)
        signal(enders[i], SIG_DFL);
    return good;
}

enum err passwd_ask(char ret_password[PASSWD_INPUT_MAX], char why[PASSWD_WHY_MAX])
{
    char second[PASSWD_INPUT_MAX] = "";
    bool good;
    if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &terminal) == 0) {
        good = ask_terminal(ret_password, second);
    } else {
        good = read_line(ret_password);
        if (good && !read_line(second) && feof(stdin))
            memcpy(second, ret_password, sizeof second);
    }
    bool same = good && strcmp(ret_password, second) == 0;
    OPENSSL_cleanse(second, sizeof second);
    if (same)
        return ERR_OK;
    snprintf(why, PASSWD_WHY_MAX, "%s",
             good ? "the two passwords differ" : "there was no password to read");
    return ERR_INVALID;
}
