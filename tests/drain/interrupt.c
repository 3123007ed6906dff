/* Preloaded into a process, this signals each of its threads whose name begins with "polyserve" 200
 * times a second. The signal's handler does nothing and is installed without SA_RESTART, so that every
 * call which a signal can interrupt is interrupted (signal(7)). At the end it tells how often it did. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static unsigned long sent;

static void nothing(int signal) { (void)signal; }

static int is_serving(const char *tid) {
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", tid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    char *read = fgets(name, sizeof name, file);
    fclose(file);
    return read != NULL && strncmp(name, "polyserve", 9) == 0;
}

static void *interrupt(void *unused) {
    (void)unused;
    const struct timespec tick = {0, 5 * 1000 * 1000};
    for (;;) {
        DIR *tasks = opendir("/proc/self/task");
        struct dirent *task;
        while (tasks != NULL && (task = readdir(tasks)) != NULL) {
            int tid = atoi(task->d_name);
            if (tid > 0 && is_serving(task->d_name)
                && syscall(SYS_tgkill, getpid(), tid, SIGUSR1) == 0) {
                __atomic_add_fetch(&sent, 1, __ATOMIC_RELAXED);
            }
        }
        if (tasks != NULL) closedir(tasks);
        nanosleep(&tick, NULL);
    }
    return NULL;
}

__attribute__((constructor)) static void begin(void) {
    unsetenv("LD_PRELOAD");
    struct sigaction action = {.sa_handler = nothing, .sa_flags = 0};
    pthread_t thread;
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&thread, NULL, interrupt, NULL);
}

__attribute__((destructor)) static void end(void) {
    fprintf(stderr, "interrupts: %lu\n", __atomic_load_n(&sent, __ATOMIC_RELAXED));
}
