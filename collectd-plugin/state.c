/* The state file: reads it, keeps it, and writes it in a thread. */

#include "state.h"

#include <search.h>

#include "ais_time.h"

#include "state_text.h"

#define HEADER "aisearch-state 1\n"

/* Below collectd's BaseDir, which is its working directory by then. */
#define STATE_FILE "aisearch.state"

#define KEPT_FOR (INT64_C(30) * 24 * 3600 * 1000) /* ms */
#define KEPT_MAX 100000                           /* an API may make up names */

/* What is to be told is written no more often than this, but for once in each
 * interval. */
#define SAVE_PAUSE 1000 /* ms */

#define DATE_SIZE sizeof("2026-11-23T12:00:00Z")

/* A line that was read, and not taken. */
typedef struct line_s line_t;
struct line_s {
  char *key; /* "KIND NAME": first, for the tree */
  char *text;
  char date[DATE_SIZE];
  line_t *prev, *next;
};

static struct {
  bool is_open;
  char *path, *temporary;
  void (*written)(void);

  line_t *first;
  void *by_key; /* a tree of the same */
  size_t nlines;

  bool is_changed, is_urgent;
  int64_t saved_at; /* of ais_clock() */
  bool is_writing;  /* what was handed to the thread is not known to be over */
  bool has_failed;  /* and that was logged */
  size_t added;
  text_t text; /* the thread's while it is busy */

  pthread_t thread;
  bool has_thread;
  bool busy;             /* lock */
  bool stop;             /* lock */
  struct ais_error fail; /* lock; of the last time; empty: none */
} state;

static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t state_wake = PTHREAD_COND_INITIALIZER;

/* ---- lines --------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b) {
  return strcmp(((const line_t *)a)->key, ((const line_t *)b)->key);
}

static line_t *line_find(const char *key) {
  line_t **found =
      tfind(&(line_t){.key = (char *)key}, &state.by_key, compare_keys);

  return found != NULL ? *found : NULL;
}

static void line_free(line_t *line) {
  sfree(line->key);
  sfree(line->text);
  sfree(line);
}

static void line_drop(line_t *line) {
  tdelete(line, &state.by_key, compare_keys);
  if (line->prev != NULL)
    line->prev->next = line->next;
  else
    state.first = line->next;
  if (line->next != NULL)
    line->next->prev = line->prev;
  state.nlines--;
  line_free(line);
}

/* Returns false where there is one already, or no room. */
static bool line_insert(const char *key, const char *date, const char *text) {
  line_t *line = calloc(1, sizeof(*line));
  line_t **place = NULL;

  if (line == NULL)
    return false;

  sstrncpy(line->date, date, sizeof(line->date));
  line->key = strdup(key);
  line->text = strdup(text);
  if (line->key != NULL && line->text != NULL)
    place = tsearch(line, &state.by_key, compare_keys);
  if (place == NULL || *place != line) {
    line_free(line);
    return false;
  }

  line->next = state.first;
  if (state.first != NULL)
    state.first->prev = line;
  state.first = line;
  state.nlines++;
  return true;
}

/* The release before knows three kinds, and sets a file with any other aside.
 * The others look like budgets to it, which it keeps as they are: their name is
 * KIND!NAME!TEXT. */
static bool is_plain(const char *kind) {
  return strcmp(kind, "instance") == 0 || strcmp(kind, "told") == 0 ||
         strcmp(kind, "budget") == 0;
}

static void put_all(const char *const *words, size_t n) {
  for (size_t i = 0; i < n; i++)
    text_put(&state.text, words[i]);
}

static void line_begin(const char *kind, const char *name, const char *date) {
  const char *const plain[] = {kind, " ", name, " ", date, " "};
  const char *const other[] = {"budget ", kind, "!", name, "!"};

  state.added++;
  if (is_plain(kind))
    put_all(plain, STATIC_ARRAY_SIZE(plain));
  else
    put_all(other, STATIC_ARRAY_SIZE(other));
}

static void line_end(const char *kind, const char *date) {
  const char *const words[] = {" ", date, " "};

  if (!is_plain(kind))
    put_all(words, STATIC_ARRAY_SIZE(words));
  text_put(&state.text, "\n");
}

/* ---- reading ------------------------------------------------------------- */

static bool is_valid(const char *kind, const char *text) {
  instance_t instance = {.name = NULL};
  bool valid = false;

  if (strcmp(kind, "instance") == 0) {
    valid = history_parse(&instance.history, text);
    history_free(&instance.history);
  }
  return valid ||
         (strcmp(kind, "told") == 0 && told_parse(&instance.told, text)) ||
         (strcmp(kind, "budget") == 0 && budget_parse(NULL, 0, 0, text)) ||
         (strcmp(kind, "facts") == 0 && facts_parse(&instance, text)) ||
         (strcmp(kind, "notice") == 0 && notice_parse(&(notice_t){0}, text));
}

static char *cut(char **rest, char at) {
  char *word = *rest;
  char *end = word != NULL ? strchr(word, at) : NULL;

  *rest = end != NULL ? end + 1 : NULL;
  if (end != NULL)
    *end = '\0';
  return word;
}

static bool line_read(char *line) {
  char *kind = cut(&line, ' '), *name = cut(&line, ' ');
  char *date = cut(&line, ' '), *text = line;
  char key[512];
  int64_t when;

  if (text == NULL || name[0] == '\0' || strlen(date) >= DATE_SIZE ||
      !ais_time_parse((struct ais_str){date, strlen(date)}, &when))
    return false;
  if (strcmp(kind, "budget") == 0 && strchr(name, '!') != NULL) {
    kind = cut(&name, '!');
    text = name;
    name = cut(&text, '!');
  }

  if (text == NULL || !is_valid(kind, text))
    return false;
  ssnprintf(key, sizeof(key), "%s %s", kind, name);
  return line_insert(key, date, text);
}

/* A line that is not understood costs that line. */
static void read_lines(char *text) {
  size_t bad = 0, number = 1, first_bad = 0;
  bool has_end = false;

  for (char *line = cut(&text, '\n'); line != NULL && text != NULL;
       line = cut(&text, '\n')) {
    number++;
    has_end = strncmp(line, "end ", strlen("end ")) == 0;
    if (!has_end && !line_read(line) && bad++ == 0)
      first_bad = number;
  }

  if (bad > 0)
    WARNING("aisearch plugin: StateFile: %zu lines of %s are not understood, "
            "the first of them is line %zu. They are left out.",
            bad, state.path, first_bad);
  else if (!has_end)
    WARNING("aisearch plugin: StateFile: The end of %s is missing.",
            state.path);
}

static char *slurp(int fd) {
  text_t text = {.data = NULL};
  char part[65536];
  ssize_t n;

  while ((n = read(fd, part, sizeof(part))) > 0)
    text_add(&text, part, (size_t)n);
  if (n < 0 || text.failed || text.len == 0 || strlen(text.data) != text.len)
    sfree(text.data);
  return text.data;
}

/* Whether a file can be made there. */
static bool can_be_made(const char *path) {
  char directory[PATH_MAX];
  char *slash;

  sstrncpy(directory, path, sizeof(directory));
  slash = strrchr(directory, '/');
  if (slash == NULL)
    return true;
  slash[1] = '\0';
  return access(directory, W_OK | X_OK) == 0;
}

static void set_aside(void) {
  char damaged[PATH_MAX];

  ssnprintf(damaged, sizeof(damaged), "%s.damaged", state.path);
  (void)rename(state.path, damaged);
  WARNING("aisearch plugin: StateFile: %s is none, or is damaged. It is %s "
          "now, and nothing is known.",
          state.path, damaged);
}

/* Returns the errno where the file cannot be used. */
static int read_file(void) {
  int fd = open(state.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat st;
  char *text;

  if (fd == -1)
    return errno == ENOENT && can_be_made(state.path) ? 0 : errno;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(fd);
    return EISDIR;
  }

  text = slurp(fd);
  close(fd);
  if (text != NULL && strncmp(text, HEADER, strlen(HEADER)) == 0)
    read_lines(text + strlen(HEADER));
  else
    set_aside();
  sfree(text);
  return 0;
}

/* ---- writing, in the thread ---------------------------------------------- */

/* Under another name first: nobody finds a part of it. */
static void write_file(struct ais_error *err) {
  int fd = open(state.temporary,
                O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  int status = -1;

  if (fd != -1) {
    status = fchmod(fd, 0600);
    if (status == 0)
      status = (int)swrite(fd, state.text.data, state.text.len);
    if (status == 0)
      status = fsync(fd);
    if (close(fd) != 0)
      status = -1;
    if (status == 0)
      status = rename(state.temporary, state.path);
  }

  if (status != 0) {
    ais_error_set(err, "%s cannot be written: %s", state.path, STRERRNO);
    unlink(state.temporary);
  }
}

static void *write_main(void __attribute__((unused)) * arg) {
  pthread_mutex_lock(&state_lock);
  while (true) {
    struct ais_error err = {.text = ""};

    while (!state.busy && !state.stop)
      pthread_cond_wait(&state_wake, &state_lock);
    if (!state.busy)
      break;

    pthread_mutex_unlock(&state_lock);
    if (state.text.failed)
      ais_error_set(&err, "%s cannot be written: out of memory", state.path);
    else
      write_file(&err);
    pthread_mutex_lock(&state_lock);
    state.fail = err;
    state.busy = false;
    pthread_cond_broadcast(&state_wake);
    state.written();
  }
  pthread_mutex_unlock(&state_lock);
  return NULL;
}

/* ---- what is kept -------------------------------------------------------- */

static void close_file(void) {
  while (state.first != NULL)
    line_drop(state.first);
  sfree(state.path);
  sfree(state.temporary);
}

/* Returns the errno where the file cannot be used. */
static int open_file(const char *path) {
  int status = ENOMEM;

  state.path = strdup(path);
  state.temporary = ssnprintf_alloc("%s.new", path);
  if (state.path != NULL && state.temporary != NULL)
    status = read_file();
  state.is_open = status == 0;
  if (status != 0)
    close_file();
  return status;
}

void state_open(const char *path, void (*written)(void)) {
  int status = path != NULL ? open_file(path) : -1;

  state.written = written;
  if (status > 0)
    ERROR("aisearch plugin: StateFile: %s cannot be used: %s. %s is used.",
          path, STRERROR(status), STATE_FILE);
  if (status != 0)
    status = open_file(STATE_FILE);
  if (status == 0)
    status = plugin_thread_create(&state.thread, write_main, /* arg = */ NULL,
                                  "aisearch-st");
  state.has_thread = status == 0;
  if (status != 0)
    ERROR("aisearch plugin: StateFile: %s: %s. Nothing will be known after a "
          "restart.",
          STATE_FILE, STRERROR(status));
}

static char *take(const char *kind, const char *name) {
  char key[512];
  line_t *line;
  char *text;

  ssnprintf(key, sizeof(key), "%s %s", kind, name);
  line = line_find(key);
  if (line == NULL)
    return NULL;

  text = line->text;
  line->text = NULL;
  line_drop(line);
  return text;
}

static void restore_told(told_t *told, const char *name) {
  char *text = take("told", name);

  if (text != NULL)
    told_parse(told, text);
  sfree(text);
}

void state_restore(instance_t *instance) {
  char *history = take("instance", instance->name);
  char *facts = take("facts", instance->name);
  int64_t now = epoch();

  if (history != NULL) {
    history_free(&instance->history);
    history_parse(&instance->history, history);
    history_bound(&instance->history, now);
    memcpy(instance->written, instance->history.ended,
           sizeof(instance->written));
  }
  if (facts != NULL) {
    facts_parse(instance, facts);
    instance->first_at = ais_earlier(instance->first_at, now);
    instance->read_at = ais_earlier(instance->read_at, now);
  }
  restore_told(&instance->told, instance->name);
  sfree(history);
  sfree(facts);
}

static void restore_notices(account_t *account) {
  char name[DATA_MAX_NAME_LEN];
  char *text;
  notice_t notice;

  for (size_t n = 0;; n++) {
    ssnprintf(name, sizeof(name), "%s.%zu", account->name, n);
    text = take("notice", name);
    if (text == NULL)
      return;
    if (notice_parse(&notice, text))
      notices_add(&account->notices, &notice);
    sfree(text);
  }
}

void state_restore_account(account_t *account) {
  char *text = take("budget", account->name);

  if (text != NULL)
    budget_parse(&account->payer->budget.calls, ais_clock(), epoch(), text);
  sfree(text);
  restore_told(&account->conditions.told, account->name);
  restore_notices(account);
  for (poll_t *poll = account->first; poll != NULL; poll = poll->next)
    if (poll->leads)
      state_restore(poll->instance);
}

char **state_names(const account_t *account, size_t *n) {
  char **names = calloc(state.nlines + 1, sizeof(*names));
  size_t len = strlen(account->name);

  *n = 0;
  for (line_t *line = state.first; names != NULL && line != NULL;
       line = line->next) {
    const char *name = strchr(line->key, ' ') + 1;
    bool is_ours = strncmp(line->key, "instance ", strlen("instance ")) == 0 ||
                   strncmp(line->key, "told ", strlen("told ")) == 0;

    if (is_ours && strncmp(name, account->name, len) == 0 && name[len] == '-' &&
        strlen(name) < DATA_MAX_NAME_LEN && (names[*n] = strdup(name)) != NULL)
      ++*n;
  }
  return names;
}

void state_end(account_t *account, const char *name) {
  told_t told = {0};

  restore_told(&told, name);
  conditions_gone(&told, name, &account->notices);
}

static void print_date(char date[DATE_SIZE], int64_t now) {
  time_t seconds = (time_t)(now / 1000);
  struct tm tm;

  gmtime_r(&seconds, &tm);
  if (strftime(date, DATE_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    sstrncpy(date, "1970-01-01T00:00:00Z", DATE_SIZE);
}

void state_keep(instance_t *instance) {
  char key[DATA_MAX_NAME_LEN + 16], date[DATE_SIZE];
  text_t text = {.data = NULL};

  if (!state.is_open || instance->history.seen_at == AIS_TIME_NONE ||
      state.nlines >= KEPT_MAX)
    return;

  history_print(&text, &instance->history);
  ssnprintf(key, sizeof(key), "instance %s", instance->name);
  print_date(date, epoch());
  if (!text.failed)
    line_insert(key, date, text.data);
  sfree(text.data);
}

void state_touch(bool is_urgent) {
  state.is_changed = true;
  state.is_urgent |= is_urgent;
}

/* ---- saving -------------------------------------------------------------- */

static void add_told(const char *name, const told_t *told, const char *date) {
  if (told->bits == 0)
    return;
  line_begin("told", name, date);
  told_print(&state.text, told);
  line_end("told", date);
}

static void add_instance(instance_t *instance, const char *date) {
  if (instance->is_gone && instance->is_over)
    return;

  memcpy(instance->writing, instance->history.ended, sizeof(instance->writing));
  if (instance->history.seen_at != AIS_TIME_NONE) {
    line_begin("instance", instance->name, date);
    history_print(&state.text, &instance->history);
    line_end("instance", date);
  }
  line_begin("facts", instance->name, date);
  facts_print(&state.text, instance);
  line_end("facts", date);
  add_told(instance->name, &instance->told, date);
}

static void add_account(account_t *account, const char *date) {
  size_t n = 0;

  pthread_mutex_lock(&account->lock);
  add_told(account->name, &account->conditions.told, date);
  if (account->payer == account) {
    line_begin("budget", account->name, date);
    budget_print(&state.text, &account->budget.calls, ais_clock(), epoch());
    line_end("budget", date);
  }

  for (const notice_t *notice = account->notices.first; notice != NULL;
       notice = notice->next) {
    char name[DATA_MAX_NAME_LEN];

    ssnprintf(name, sizeof(name), "%s.%zu", account->name, n++);
    line_begin("notice", name, date);
    notice_print(&state.text, notice);
    line_end("notice", date);
  }
  notices_move(&account->notices, NOTICE_NEW, NOTICE_WRITING);
  account->notices.changed = false;

  for (poll_t *poll = account->first; poll != NULL; poll = poll->next)
    if (poll->leads)
      add_instance(poll->instance, date);
  pthread_mutex_unlock(&account->lock);
}

/* Says whether it may go. One with a date to come, of a clock that was wrong,
 * is from now. */
static bool is_too_old(line_t *line, const char *date, int64_t now) {
  int64_t when = now;

  ais_time_parse((struct ais_str){line->date, strlen(line->date)}, &when);
  if (when > now)
    sstrncpy(line->date, date, sizeof(line->date));
  return now - when > KEPT_FOR;
}

static void add_line(const line_t *line) {
  char kind[16];
  size_t len = strcspn(line->key, " ");

  ssnprintf(kind, sizeof(kind), "%.*s", (int)len, line->key);
  line_begin(kind, line->key + len + 1, line->date);
  text_put(&state.text, line->text);
  line_end(kind, line->date);
}

static void print_all(account_t *accounts) {
  int64_t now = epoch();
  char date[DATE_SIZE];

  print_date(date, now);
  state.text.len = 0;
  state.text.failed = false;
  state.added = 0;
  text_put(&state.text, HEADER);
  for (account_t *a = accounts; a != NULL; a = a->next)
    add_account(a, date);

  for (line_t *line = state.first, *next; line != NULL; line = next) {
    next = line->next;
    if (is_too_old(line, date, now))
      line_drop(line);
    else
      add_line(line);
  }
  text_put(&state.text, "end ");
  text_number(&state.text, state.added);
  text_put(&state.text, "\n");
}

/* What was written may be told; and where it could not be, too: it would be
 * told again after a restart, which is better than never. */
static void hand_over(account_t *accounts, const struct ais_error *err) {
  bool failed = err->text[0] != '\0';

  for (account_t *a = accounts; a != NULL; a = a->next) {
    pthread_mutex_lock(&a->lock);
    notices_move(&a->notices, NOTICE_WRITING, NOTICE_WRITTEN);
    for (poll_t *poll = a->first; poll != NULL; poll = poll->next)
      if (poll->leads)
        memcpy(poll->instance->written, poll->instance->writing,
               sizeof(poll->instance->written));
    pthread_mutex_unlock(&a->lock);
  }

  state.is_writing = false;
  if (failed && !state.has_failed)
    ERROR("aisearch plugin: StateFile: %s. After a restart, alarms may come "
          "again, and counters begin anew.",
          err->text);
  else if (!failed && state.has_failed)
    INFO("aisearch plugin: StateFile: can be written again.");
  state.has_failed = failed;
}

/* Begins to write. Without a thread, nothing is. */
static void begin_save(account_t *accounts) {
  print_all(accounts);
  state.is_changed = state.is_urgent = false;
  state.is_writing = true;
  state.saved_at = ais_clock();
  if (!state.has_thread) {
    hand_over(accounts, &(struct ais_error){.text = ""});
    return;
  }

  pthread_mutex_lock(&state_lock);
  state.busy = true;
  pthread_cond_broadcast(&state_wake);
  pthread_mutex_unlock(&state_lock);
}

static bool is_urgent(account_t *accounts) {
  bool urgent = state.is_urgent;

  for (account_t *a = accounts; a != NULL && !urgent; a = a->next) {
    pthread_mutex_lock(&a->lock);
    urgent = a->notices.changed;
    pthread_mutex_unlock(&a->lock);
  }
  return urgent;
}

int64_t state_save(account_t *accounts, bool all) {
  int64_t pause = ais_earlier(
      SAVE_PAUSE, (int64_t)CDTIME_T_TO_MS(plugin_get_interval()) / 4);
  int64_t left = ais_clock_until(state.saved_at + pause);
  struct ais_error err;
  bool busy;

  pthread_mutex_lock(&state_lock);
  busy = state.busy;
  err = state.fail;
  pthread_mutex_unlock(&state_lock);
  if (busy) {
    state.is_urgent |= all && state.is_changed;
    return -1;
  }

  if (state.is_writing)
    hand_over(accounts, &err);
  if (!(all && state.is_changed) && !is_urgent(accounts))
    return -1;
  if (!all && left > 0)
    return left;
  begin_save(accounts);
  return -1;
}

static void wait_for_disk(account_t *accounts) {
  struct ais_error err;

  pthread_mutex_lock(&state_lock);
  while (state.busy)
    pthread_cond_wait(&state_wake, &state_lock);
  err = state.fail;
  pthread_mutex_unlock(&state_lock);
  if (state.is_writing)
    hand_over(accounts, &err);
}

void state_close(account_t *accounts) {
  if (!state.has_thread) {
    close_file();
    return;
  }

  wait_for_disk(accounts);
  begin_save(accounts);
  wait_for_disk(accounts);
  pthread_mutex_lock(&state_lock);
  state.stop = true;
  pthread_cond_broadcast(&state_wake);
  pthread_mutex_unlock(&state_lock);
  pthread_join(state.thread, /* return = */ NULL);

  close_file();
  sfree(state.text.data);
  memset(&state, 0, sizeof(state));
}
