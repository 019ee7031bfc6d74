/* Lets every P-th operation under CHAOS_FOLDER fail with EIO, by chance of CHAOS_SEED. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static unsigned state;

static int strikes(const char *path) {
    const char *folder = getenv("CHAOS_FOLDER"), *one_in = getenv("CHAOS_ONE_IN"), *seed = getenv("CHAOS_SEED");
    if (!folder || !one_in || !path || strncmp(path, folder, strlen(folder)))
        return 0;
    if (!state)
        state = (seed ? (unsigned)atoi(seed) : 0) * 7919u + (unsigned)getpid();
    return rand_r(&state) % atoi(one_in) == 0;
}

static int strikes_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = fd > 2 ? readlink(link, path, sizeof path - 1) : -1;
    if (length < 0)
        return 0;
    path[length] = 0;
    return strikes(path);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) \
        real = dlsym(RTLD_NEXT, #name)
#define FAIL_IF(condition) \
    if (condition) { \
        errno = EIO; \
        return -1; \
    }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    FAIL_IF(strikes_fd(fd))
    return real(fd, data, size);
}

ssize_t read(int fd, void *data, size_t size) {
    REAL(ssize_t, read, int, void *, size_t);
    FAIL_IF(strikes_fd(fd))
    return real(fd, data, size);
}

int fsync(int fd) {
    REAL(int, fsync, int);
    FAIL_IF(strikes_fd(fd))
    return real(fd);
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    FAIL_IF(strikes(to))
    return real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    FAIL_IF(strikes(path))
    return real(path, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    REAL(int, open64, const char *, int, ...);
    FAIL_IF(strikes(path))
    return real(path, flags, mode);
}
