/* The wall clock of a process, off by as many seconds as a file says; preloaded by the chaos harness.
 *
 * Debian's libfaketime 0.9.10 would be the obvious tool, but under it Python 3.11's time.sleep fails with
 * EINVAL or, with a faked monotonic clock, Event.wait never returns. This shifts CLOCK_REALTIME alone, and
 * shifts back the absolute times to which threads wait, which the kernel compares with the true clock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t zero;
static const volatile int64_t *skew_seconds = &zero;

__attribute__((constructor)) static void find_file(void) {
    const char *path = getenv("SKEWED_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) skew_seconds = page;
    close(file);
}

static int is_wall_clock(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (result == 0 && is_wall_clock(clock)) now->tv_sec += *skew_seconds;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds) *seconds = now.tv_sec;
    return now.tv_sec;
}

/* A condition's clock can't be asked for, but no machine has been up since 2001. */
static struct timespec true_time(const struct timespec *when) {
    struct timespec shifted = *when;
    if (shifted.tv_sec > 1000000000) shifted.tv_sec -= *skew_seconds;
    return shifted;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *when) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec shifted = true_time(when);
    return real(condition, mutex, &shifted);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *when) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec shifted = true_time(when);
    return real(semaphore, &shifted);
}
