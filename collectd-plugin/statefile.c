#include "statefile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ais_time.h"

#define HEADER "aisearch-state 1\n"

#define KEPT_FOR (INT64_C(30) * 24 * 3600 * 1000) /* ms */

#define DATE_SIZE sizeof("2026-11-23T12:00:00Z")

/* A line that was read, and not taken. */
typedef struct {
  char *kind; /* "KIND\0NAME\0DATE\0TEXT\0": all in one piece */
  char *name;
  const char *date;
  char *text;
} line_t;

/* Text that grows. */
typedef struct {
  char *data;
  size_t len;
  size_t size;
  bool failed; /* memory has run out */
} buffer_t;

struct statefile_s {
  char *path;
  char *temporary;
  char *damaged;

  line_t *lines; /* by kind and name */
  size_t nlines;
  size_t size;

  buffer_t buffer; /* the thread's while it is busy */
  size_t added;
  char date[DATE_SIZE];

  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;   /* the thread has something to do */
  pthread_cond_t done;   /* and has done it */
  bool busy;             /* lock */
  bool stop;             /* lock */
  struct ais_error fail; /* lock; of the last commit; empty: none */
};

/* Memory. */

static void append(buffer_t *b, const char *data, size_t len) {
  if (b->failed || len == 0)
    return;

  if (b->len + len > b->size) {
    size_t size = 2 * (b->len + len);
    char *grown = realloc(b->data, size);

    if (grown == NULL) {
      b->failed = true;
      return;
    }
    b->data = grown;
    b->size = size;
  }

  memcpy(b->data + b->len, data, len);
  b->len += len;
}

static void append_text(buffer_t *b, const char *text) {
  append(b, text, strlen(text));
}

static void append_line(buffer_t *b, const char *kind, const char *name,
                        const char *date, const char *text) {
  append_text(b, kind);
  append(b, " ", 1);
  append_text(b, name);
  append(b, " ", 1);
  append_text(b, date);
  append(b, " ", 1);
  append_text(b, text);
  append(b, "\n", 1);
}

/* Lines. */

static int compare(const char *kind, const char *name, const line_t *line) {
  int order = strcmp(kind, line->kind);

  return order != 0 ? order : strcmp(name, line->name);
}

static int compare_lines(const void *a, const void *b) {
  const line_t *line = a;

  return compare(line->kind, line->name, b);
}

/* Where it is, or belongs. */
static size_t find(const statefile_t *f, const char *kind, const char *name) {
  size_t low = 0, high = f->nlines;

  while (low < high) {
    size_t middle = low + (high - low) / 2;

    if (compare(kind, name, &f->lines[middle]) > 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool is_at(const statefile_t *f, size_t i, const char *kind,
                  const char *name) {
  return i < f->nlines && compare(kind, name, &f->lines[i]) == 0;
}

static bool insert(statefile_t *f, size_t i, const line_t *line) {
  if (f->nlines == f->size) {
    size_t size = f->size == 0 ? 16 : 2 * f->size;
    line_t *lines = realloc(f->lines, size * sizeof(*lines));

    if (lines == NULL)
      return false;
    f->lines = lines;
    f->size = size;
  }

  memmove(f->lines + i + 1, f->lines + i, (f->nlines - i) * sizeof(*line));
  f->lines[i] = *line;
  f->nlines++;
  return true;
}

static void drop(statefile_t *f, size_t i) {
  free(f->lines[i].kind);
  f->nlines--;
  memmove(f->lines + i, f->lines + i + 1,
          (f->nlines - i) * sizeof(f->lines[0]));
}

static void drop_all(statefile_t *f) {
  while (f->nlines > 0)
    drop(f, f->nlines - 1);
}

/* Reading. */

static char *cut(char **rest) {
  char *word = *rest;
  char *space = word != NULL ? strchr(word, ' ') : NULL;

  *rest = space != NULL ? space + 1 : NULL;
  if (space != NULL)
    *space = '\0';
  return word;
}

static bool split(line_t *line, char *text) {
  int64_t date;

  line->kind = cut(&text);
  line->name = cut(&text);
  line->date = cut(&text);
  line->text = text;
  return text != NULL && line->kind[0] != '\0' && line->name[0] != '\0' &&
         strlen(line->date) < DATE_SIZE &&
         ais_time_parse(ais_str_of(line->date), &date);
}

static int read_line(statefile_t *f, const char *text,
                     statefile_valid_t valid) {
  char *copy = strdup(text);
  line_t line;

  if (copy == NULL)
    return -1;
  if (!split(&line, copy) || !valid(line.kind, line.text) ||
      !insert(f, f->nlines, &line)) {
    free(copy);
    return -1;
  }
  return 0;
}

static bool has_duplicates(const statefile_t *f) {
  for (size_t i = 1; i < f->nlines; i++)
    if (compare_lines(&f->lines[i - 1], &f->lines[i]) == 0)
      return true;
  return false;
}

/* The last line: how many there are before it. */
static bool is_end(const char *line, size_t *nlines) {
  char *rest;

  if (strncmp(line, "end ", strlen("end ")) != 0 ||
      !isdigit((unsigned char)line[strlen("end ")]))
    return false;

  *nlines = strtoul(line + strlen("end "), &rest, 10);
  return *rest == '\0';
}

/* The text ends with a NUL, and has no other. */
static int read_lines(statefile_t *f, char *text, statefile_valid_t valid,
                      struct ais_error *err) {
  size_t number = 1;
  size_t end = 0;
  bool ended = false;

  if (strncmp(text, HEADER, strlen(HEADER)) != 0) {
    ais_error_set(err, "it does not begin with \"%.*s\"",
                  (int)strlen(HEADER) - 1, HEADER);
    return -1;
  }

  for (char *line = text + strlen(HEADER); *line != '\0' && !ended;) {
    char *newline = strchr(line, '\n');

    number++;
    if (newline != NULL)
      *newline = '\0';
    ended = newline != NULL && newline[1] == '\0' && is_end(line, &end);
    if (newline == NULL || (!ended && read_line(f, line, valid) != 0)) {
      ais_error_set(err, "line %zu cannot be read", number);
      return -1;
    }
    line = newline + 1;
  }

  if (!ended || end != f->nlines) {
    ais_error_set(err, "its end is missing");
    return -1;
  }

  if (f->nlines > 0)
    qsort(f->lines, f->nlines, sizeof(f->lines[0]), compare_lines);
  if (has_duplicates(f)) {
    ais_error_set(err, "it tells of something twice");
    return -1;
  }
  return 0;
}

/* Returns a text with a NUL behind, or NULL. */
static char *slurp(int fd, struct ais_error *err) {
  buffer_t buffer = {.data = NULL};
  char part[65536];
  ssize_t n;

  while ((n = read(fd, part, sizeof(part))) > 0)
    append(&buffer, part, (size_t)n);

  if (n < 0)
    ais_error_set(err, "%s", strerror(errno));
  else if (buffer.len > 0 && memchr(buffer.data, '\0', buffer.len) != NULL)
    ais_error_set(err, "it is no text");
  else
    append(&buffer, "", 1);

  if (err->text[0] != '\0' || buffer.failed) {
    free(buffer.data);
    return NULL;
  }
  return buffer.data;
}

static void set_aside(const statefile_t *f, struct ais_error *err) {
  struct ais_error why = *err;

  if (rename(f->path, f->damaged) == 0)
    ais_error_set(err, "%s is damaged: %s. It is %s now", f->path, why.text,
                  f->damaged);
  else
    ais_error_set(err, "%s is damaged: %s", f->path, why.text);
}

static void read_file(statefile_t *f, statefile_valid_t valid,
                      struct ais_error *err) {
  int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat st;
  char *text;

  if (fd == -1) {
    if (errno != ENOENT)
      ais_error_set(err, "%s cannot be read: %s", f->path, strerror(errno));
    return;
  }

  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    ais_error_set(err, "%s is no file", f->path);
    close(fd);
    return;
  }

  text = slurp(fd, err);
  close(fd);
  if (text == NULL || read_lines(f, text, valid, err) != 0) {
    drop_all(f);
    set_aside(f, err);
  }
  free(text);
}

/* Writing, in the thread. */

static int write_all(int fd, const char *data, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, data, len);

    if (n < 0 && errno != EINTR)
      return -1;
    if (n > 0) {
      data += n;
      len -= (size_t)n;
    }
  }
  return 0;
}

/* Under another name first: nobody finds a part of it. */
static int write_file(const statefile_t *f, struct ais_error *err) {
  int fd = open(f->temporary,
                O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  int status = -1;

  if (fd != -1) {
    status = fchmod(fd, 0600);
    if (status == 0)
      status = write_all(fd, f->buffer.data, f->buffer.len);
    if (status == 0)
      status = fsync(fd);
    if (close(fd) != 0)
      status = -1;
    if (status == 0)
      status = rename(f->temporary, f->path);
  }

  if (status != 0) {
    ais_error_set(err, "%s cannot be written: %s", f->path, strerror(errno));
    unlink(f->temporary);
  }
  return status;
}

static void *write_main(void *arg) {
  statefile_t *f = arg;

  pthread_mutex_lock(&f->lock);
  while (true) {
    struct ais_error err = {.text = ""};

    while (!f->busy && !f->stop)
      pthread_cond_wait(&f->wake, &f->lock);
    if (!f->busy)
      break;

    pthread_mutex_unlock(&f->lock);
    write_file(f, &err);
    pthread_mutex_lock(&f->lock);

    f->fail = err;
    f->busy = false;
    pthread_cond_broadcast(&f->done);
  }
  pthread_mutex_unlock(&f->lock);
  return NULL;
}

/* Signals are for the others. */
static int start_thread(statefile_t *f) {
  sigset_t all, before;
  int status;

  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  status = pthread_create(&f->thread, /* attr = */ NULL, write_main, f);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return status == 0 ? 0 : -1;
}

static void free_file(statefile_t *f) {
  drop_all(f);
  free(f->lines);
  free(f->buffer.data);
  free(f->path);
  free(f->temporary);
  free(f->damaged);
  pthread_cond_destroy(&f->done);
  pthread_cond_destroy(&f->wake);
  pthread_mutex_destroy(&f->lock);
  free(f);
}

static char *join(const char *path, const char *suffix) {
  size_t size = strlen(path) + strlen(suffix) + 1;
  char *joined = malloc(size);

  if (joined != NULL)
    snprintf(joined, size, "%s%s", path, suffix);
  return joined;
}

statefile_t *aisearch_statefile_open(const char *path, statefile_valid_t valid,
                                     struct ais_error *err) {
  statefile_t *f = calloc(1, sizeof(*f));

  err->text[0] = '\0';
  if (f == NULL)
    return NULL;

  pthread_mutex_init(&f->lock, /* attr = */ NULL);
  pthread_cond_init(&f->wake, /* attr = */ NULL);
  pthread_cond_init(&f->done, /* attr = */ NULL);
  f->path = join(path, "");
  f->temporary = join(path, ".new");
  f->damaged = join(path, ".damaged");
  if (f->path == NULL || f->temporary == NULL || f->damaged == NULL ||
      start_thread(f) != 0) {
    free_file(f);
    return NULL;
  }

  read_file(f, valid, err);
  return f;
}

char *aisearch_statefile_take(statefile_t *f, const char *kind,
                              const char *name) {
  size_t i = find(f, kind, name);
  char *text;

  if (!is_at(f, i, kind, name))
    return NULL;

  text = strdup(f->lines[i].text);
  if (text != NULL)
    drop(f, i);
  return text;
}

char *aisearch_statefile_first(const statefile_t *f, const char *kind,
                               const char *prefix) {
  size_t i = find(f, kind, prefix);

  if (i == f->nlines || strcmp(f->lines[i].kind, kind) != 0 ||
      strncmp(f->lines[i].name, prefix, strlen(prefix)) != 0)
    return NULL;
  return strdup(f->lines[i].name);
}

static void print_date(char date[DATE_SIZE], int64_t now) {
  time_t seconds = (time_t)(now / 1000);
  struct tm tm;

  gmtime_r(&seconds, &tm);
  if (strftime(date, DATE_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    snprintf(date, DATE_SIZE, "1970-01-01T00:00:00Z");
}

void aisearch_statefile_keep(statefile_t *f, const char *kind, const char *name,
                             const char *text, int64_t now) {
  size_t i = find(f, kind, name);
  char date[DATE_SIZE];
  buffer_t copy = {.data = NULL};
  line_t line;

  if (is_at(f, i, kind, name))
    drop(f, i);
  if (f->nlines >= STATEFILE_KEPT)
    return;

  print_date(date, now);
  append_line(&copy, kind, name, date, text);
  if (copy.failed) {
    free(copy.data);
    return;
  }

  copy.data[copy.len - 1] = '\0';
  if (!split(&line, copy.data) || !insert(f, i, &line))
    free(copy.data);
}

/* Says whether it may go. One with a date to come, of a clock that was wrong,
 * is from now. */
static bool is_too_old(const statefile_t *f, line_t *line, int64_t now) {
  int64_t date = now;

  ais_time_parse(ais_str_of(line->date), &date);
  if (date > now)
    line->date = f->date;
  return now - date > KEPT_FOR;
}

bool aisearch_statefile_begin(statefile_t *f, int64_t now) {
  bool busy;

  pthread_mutex_lock(&f->lock);
  busy = f->busy;
  pthread_mutex_unlock(&f->lock);
  if (busy)
    return false;

  f->buffer.len = 0;
  f->buffer.failed = false;
  f->added = 0;
  print_date(f->date, now);
  append_text(&f->buffer, HEADER);

  for (size_t i = f->nlines; i-- > 0;)
    if (is_too_old(f, &f->lines[i], now))
      drop(f, i);
  return true;
}

void aisearch_statefile_add(statefile_t *f, const char *kind, const char *name,
                            const char *text) {
  size_t i = find(f, kind, name);

  if (is_at(f, i, kind, name))
    drop(f, i);
  append_line(&f->buffer, kind, name, f->date, text);
  f->added++;
}

void aisearch_statefile_commit(statefile_t *f) {
  char end[40];

  for (size_t i = 0; i < f->nlines; i++)
    append_line(&f->buffer, f->lines[i].kind, f->lines[i].name,
                f->lines[i].date, f->lines[i].text);
  snprintf(end, sizeof(end), "end %zu\n", f->added + f->nlines);
  append_text(&f->buffer, end);

  pthread_mutex_lock(&f->lock);
  if (f->buffer.failed) {
    ais_error_set(&f->fail, "%s cannot be written: out of memory", f->path);
  } else {
    f->busy = true;
    pthread_cond_signal(&f->wake);
  }
  pthread_mutex_unlock(&f->lock);
}

/* Under the lock. */
static int outcome(const statefile_t *f, struct ais_error *err) {
  if (f->busy || f->fail.text[0] == '\0')
    return 0;
  *err = f->fail;
  return -1;
}

int aisearch_statefile_wait(statefile_t *f, struct ais_error *err) {
  int status;

  pthread_mutex_lock(&f->lock);
  while (f->busy)
    pthread_cond_wait(&f->done, &f->lock);
  status = outcome(f, err);
  pthread_mutex_unlock(&f->lock);
  return status;
}

int aisearch_statefile_check(statefile_t *f, struct ais_error *err) {
  int status;

  pthread_mutex_lock(&f->lock);
  status = outcome(f, err);
  pthread_mutex_unlock(&f->lock);
  return status;
}

void aisearch_statefile_close(statefile_t *f) {
  if (f == NULL)
    return;

  pthread_mutex_lock(&f->lock);
  f->stop = true;
  pthread_cond_signal(&f->wake);
  pthread_mutex_unlock(&f->lock);
  pthread_join(f->thread, /* return = */ NULL);
  free_file(f);
}
