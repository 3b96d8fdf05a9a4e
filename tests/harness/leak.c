/*
 * For LD_PRELOAD: a daemon that has this gives away each header that it hands to libcurl, on standard error and in shared
 * memory, so that a test can see that it would be found there.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct curl_slist;

typedef struct curl_slist *append(struct curl_slist *list, const char *text);

/* At the end of the first large mapping, where a cache of a few answers has nothing. */
static void
leak_into_shared_memory(const char *text)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long begin, end;
    char permissions[8];
    char line[512];

    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &begin, &end, permissions) == 3 && strncmp(permissions, "rw-s", 4) == 0
            && end - begin >= 1UL << 20) {
            strcpy((char *) end - strlen(text) - 1, text);
            break;
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
}

struct curl_slist *
curl_slist_append(struct curl_slist *list, const char *text)
{
    /* that of collectd's plugin is in no scope that RTLD_NEXT would look at */
    append *real = (append *) dlsym(dlopen("libcurl.so.4", RTLD_NOW), "curl_slist_append");

    dprintf(STDERR_FILENO, "%s\n", text);
    leak_into_shared_memory(text);
    return real(list, text);
}
