/* Preloaded into a process, this fails chosen calls on chosen files; see faults.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

struct plan {       /* shared with the test: Plan in faults.py has the same fields */
    int call;       /* which of the calls below; -1: none */
    int skip;       /* how many pass before the first that fails */
    int failures;   /* how many fail then; -1: all */
    int error;      /* the errno that they meet */
    int seen;       /* how many there were, failed or not */
    int failed;
    char path[240]; /* only files that have this in their path */
};
enum { FDATASYNC, FSYNC, PWRITE, WRITE, FTRUNCATE, UNLINK, OPEN, RENAME, ANY };

static struct plan *plan;

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("FAULTS");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    if (plan == MAP_FAILED)
        plan = NULL;
}

static int fails(int call, const char *path)
{
    int number;
    if (!plan || (plan->call != call && plan->call != ANY) || !strstr(path, plan->path))
        return 0;
    number = plan->seen++;
    if (number < plan->skip || (plan->failures >= 0 && number >= plan->skip + plan->failures))
        return 0;
    plan->failed++;
    errno = plan->error;
    return 1;
}

static int fails_on(int call, int fd)
{
    char link[32], path[4096];
    ssize_t length;
    if (!plan || (plan->call != call && plan->call != ANY))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fdatasync(int fd) { return fails_on(FDATASYNC, fd) ? -1 : REAL(fdatasync)(fd); }
int fsync(int fd) { return fails_on(FSYNC, fd) ? -1 : REAL(fsync)(fd); }
ssize_t write(int fd, const void *data, size_t size)
{
    return fails_on(WRITE, fd) ? -1 : REAL(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return fails_on(PWRITE, fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return fails_on(PWRITE, fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
int ftruncate(int fd, off_t size) { return fails_on(FTRUNCATE, fd) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size)
{
    return fails_on(FTRUNCATE, fd) ? -1 : REAL(ftruncate64)(fd, size);
}
int unlink(const char *path) { return fails(UNLINK, path) ? -1 : REAL(unlink)(path); }
int rename(const char *old, const char *new) { return fails(RENAME, old) ? -1 : REAL(rename)(old, new); }

#define OPENS(name)                                          \
    int name(const char *path, int flags, ...)               \
    {                                                        \
        va_list more;                                        \
        mode_t mode;                                         \
        va_start(more, flags);                               \
        mode = va_arg(more, mode_t);                         \
        va_end(more);                                        \
        return fails(OPEN, path) ? -1 : REAL(name)(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)
