/*
 * A single GET request: whether the budget, the breaker and the credential
 * allow it; how its response is evaluated; and what is logged about it.
 */

#include "aisearch.h"

#include "ais_utf8.h"

/* During an outage, requests become less frequent, up to this pause. */
#define PROBE_PAUSE_MIN 1000 /* ms */
#define PROBE_PAUSE_MAX 15000

/* "collectd -T" sends only a few requests, and then waits this long. */
#define TEST_PAUSE 1000 /* ms */

/* The number of problems logged individually in one interval. */
#define COMPLAINTS_MAX 20

/* ---- the credential ------------------------------------------------------ */

static enum ais_renewal read_secret(credential_t *c, struct ais_error *err) {
  if (c->secret != NULL)
    return ais_credential_renew(&c->secret, err);

  c->secret = c->email == NULL
                  ? ais_credential_token(c->file, err)
                  : ais_credential_email_key(c->email, c->file, err);
  return c->secret != NULL ? AIS_RENEWAL_DONE : AIS_RENEWAL_UNUSABLE;
}

/* Requests in progress have a copy of the previous credential. */
void credential_read(account_t *account) {
  credential_t *c = &account->credential;
  bool is_start = c->rotation.nslots == 0, was_read = c->secret != NULL;
  struct ais_error err;
  enum ais_renewal renewal = read_secret(c, &err);
  const char *cure, *oddity;
  int64_t date = (int64_t)time(NULL);

  if (is_start)
    ais_rotation_begin(&c->rotation, &(uint64_t){0}, 1, 0, date);

  if (renewal == AIS_RENEWAL_DONE) {
    (void)ais_rotation_renewed(&c->rotation, 0,
                               ais_credential_version(c->secret), date);
    if (!is_start)
      account_log(account, LOG_INFO, ": \"%s\" %swas read.", c->file,
                  was_read ? "has changed and " : "");
    cure = ais_credential_exposed(c->secret);
    if (cure != NULL)
      account_log(account, LOG_WARNING,
                  ": Any user of this host can read or write \"%s\": %s.",
                  c->file, cure);
    oddity = ais_credential_oddity(c->secret);
    if (oddity != NULL)
      account_log(account, LOG_WARNING, ": \"%s\": %s.", c->file, oddity);
  } else if (was_read && renewal != AIS_RENEWAL_NONE) {
    account_log(
        account, LOG_WARNING,
        ": The credential file has changed, but cannot be read: %s. The "
        "previous credential stays in use.",
        err.text);
  } else if (is_start) {
    account_log(account, LOG_ERR,
                ": %s: %s The account waits until the file can be read.",
                c->email == NULL ? "TokenFile" : "KeyFile", err.text);
  }
}

/* Whether the request may be sent now. FACTS requests leave it to others to
 * find out whether a rejected credential is accepted again. */
static bool credential_choose(request_t *request) {
  credential_t *c = &request->account->credential;

  request->choice = (struct ais_choice){.none = true};
  if (c->file == NULL)
    return true;

  credential_read(request->account);
  if (c->secret == NULL ||
      (request->part == BUDGET_FACTS && ais_rotation_exhausted(&c->rotation)))
    return false;
  request->choice = ais_rotation_choose(&c->rotation, ais_clock());
  return !request->choice.none;
}

/* Records whether the API has accepted the credential. */
static void credential_settle(const request_t *request,
                              const result_t *result) {
  account_t *account = request->account;
  struct ais_rotation *r = &account->credential.rotation;
  const struct ais_choice *choice = &request->choice;
  int64_t date = (int64_t)time(NULL);
  bool good = request->is_witness ? ais_witness_is_good(result->response)
                                  : result->fault == AIS_FAULT_NONE;

  if (choice->none)
    return;

  if (good && ais_rotation_accepted(r, choice, date) == AIS_ROTATION_RECOVERED)
    account_log(account, LOG_INFO, ": The API accepts the credential again.");
  if (!good && result->fault == AIS_FAULT_CREDENTIAL &&
      ais_rotation_refused(r, choice, ais_clock(), date) ==
          AIS_ROTATION_EXHAUSTED)
    account_log(
        account, LOG_ERR,
        ": credential: %s. Write a valid one to \"%s\", which is read as "
        "soon as it changes; until then, the current one is tried once "
        "a minute.",
        result->why.text, account->credential.file);
}

/* ---- the breaker --------------------------------------------------------- */

int64_t request_pause(const account_t *account) {
  const struct ais_breaker *b = &account->breaker;
  int64_t now = ais_clock();

  if (account->is_test && account->asked >= TEST_REQUESTS)
    return TEST_PAUSE;
  if (b->state == AIS_BREAKER_OPEN && account->probe_at > now)
    return account->probe_at - now;
  return ais_breaker_wait(b, now);
}

static void breaker_log(const account_t *account, const result_t *result,
                        enum ais_breaker_news news) {
  char span[SPAN_SIZE];

  if (news == AIS_BREAKER_OPENED)
    account_log(
        account, LOG_ERR,
        ": %d faults in a row, the last one: %s: %s. Until the API responds "
        "again, it gets one request at a time, at increasing intervals.",
        AIS_BREAKER_FAULTS, ais_fault_name(account->breaker.fault),
        result->why.text);
  else if (news == AIS_BREAKER_RECOVERED)
    account_log(account, LOG_NOTICE, ": The API responds again after %s.",
                conditions_span(span, ais_clock() - account->breaker.since));
}

/* During an outage, each failed request increases the pause before the next
 * one. A request that was not sent, because of the budget, the credential or
 * lack of memory, says nothing about the API. */
static void breaker_settle(request_t *request, const result_t *result) {
  account_t *account = request->account;
  struct ais_breaker *b = &account->breaker;
  int64_t now = ais_clock();
  int64_t pause = account->probe_pause;

  if (result->response->calls == 0 && (result->fault == AIS_FAULT_BUDGET ||
                                       result->fault == AIS_FAULT_INTERNAL ||
                                       result->fault == AIS_FAULT_CREDENTIAL)) {
    ais_breaker_cancel(b, &request->pass);
    return;
  }

  breaker_log(account, result,
              ais_breaker_settle(b, &request->pass, &result->verdict,
                                 result->response,
                                 (uint32_t)cdtime() * 2654435761U, now));
  if (b->state != AIS_BREAKER_OPEN)
    pause = 0;
  else if (pause == 0)
    pause = PROBE_PAUSE_MIN;
  else if (request->pass.probe)
    pause = ais_earlier(2 * pause, PROBE_PAUSE_MAX);
  account->probe_pause = pause;
  account->probe_at = now + pause;
  DEBUG("aisearch plugin: %s: pause %" PRIi64 " ms", account->name, pause);
}

/* ---- evaluating the response --------------------------------------------- */

/* Evaluates a well-formed response. */
static void judge_answer(result_t *result,
                         const struct ais_resource *resource) {
  const struct ais_answer *answer = &result->answer;
  const struct ais_api_error *error = &answer->errors[0];
  size_t entries =
      answer->njobs + answer->listing.ninstances + answer->listing.left_out;

  /* A response with more entries than requested belongs to another request. */
  if (resource->per_page > 0 && entries > (size_t)resource->per_page) {
    result->fault = AIS_FAULT_BODY;
    ais_error_set(&result->why,
                  "the response has %zu entries, but %d were requested",
                  entries, resource->per_page);
  } else if (answer->listing.page > 0 &&
             answer->listing.page != resource->page) {
    result->fault = AIS_FAULT_BODY;
    ais_error_set(&result->why, "the response is not page %d", resource->page);
  } else if (answer->success) {
    result->good = true;
  } else {
    result->code = error->code;
    ais_error_set(&result->why, "%.200s (code %d)",
                  error->message != NULL ? error->message : "no reason given",
                  error->code);
  }
}

/* A stale response from an nginx in between would hide an outage. */
static void judge(result_t *result, const struct ais_resource *resource) {
  const struct ais_response *response = result->response;

  result->fault = response->fault;
  if (result->fault != AIS_FAULT_NONE) {
    ais_error_set(&result->why, "%s", response->message);
  } else if (strcmp(response->cache, "STALE") == 0) {
    result->fault = AIS_FAULT_SERVER;
    ais_error_set(&result->why, "nginx has only a stale response");
  } else {
    result->verdict =
        ais_policy_judge(resource, response->status, response->body, epoch(),
                         &result->answer, &result->why);
    result->fault = result->verdict.fault;
    if (result->fault == AIS_FAULT_NONE || result->fault == AIS_FAULT_REFUSED)
      judge_answer(result, resource);
  }

  result->verdict.fault = result->fault;
  ais_utf8_printable(result->why.text, strlen(result->why.text));
}

bool result_is_no(const result_t *result) {
  return !result->good && (result->fault == AIS_FAULT_NONE ||
                           result->fault == AIS_FAULT_REFUSED);
}

/* For the report and for "collectd -T". */
static void count(const request_t *request, const result_t *result) {
  account_t *account = request->account;
  const struct ais_response *response = result->response;
  bool is_no = result_is_no(result);

  pthread_mutex_lock(&account->lock);
  account->values.requests += response->calls;
  if (request->part != BUDGET_FACTS && !request->is_witness &&
      !result->put_off) {
    account->answers++;
    account->values.errors[is_no ? AIS_FAULT_REFUSED : result->fault]++;
    conditions_count(&account->conditions, result->fault,
                     is_no ? response->status : 0, result->code);
    if (!result->good)
      sstrncpy(account->fault, result->why.text, sizeof(account->fault));
    if (response->status != 0) {
      account->values.response_time += (double)response->elapsed / 1000.0;
      account->values.responses++;
    }
  }
  pthread_mutex_unlock(&account->lock);
}

/* Whether to repeat the request with the other path form, because the API has
 * no route for this one. Other requests do not wait for the result. */
static bool is_form_tried(request_t *request, const result_t *result) {
  account_t *account = request->account;
  struct ais_resource other = request->resource;

  if (request->is_trial) {
    request->is_trial = false;
    account->trials--;
    if (ais_form_settle(&account->form, &result->verdict))
      account_log(account, LOG_NOTICE,
                  ": The API no longer supports paths without a namespace. "
                  "\"namespaces/default\" is requested from now on.");
    return false;
  }

  if (request->is_namespaced || !result->verdict.no_route ||
      !ais_resource_to_namespaced(&other))
    return false;
  request->is_trial =
      account->trials > 0 || ais_form_try(&account->form, ais_clock());
  account->trials += request->is_trial;
  return request->is_trial;
}

/* ---- the witness of the credential --------------------------------------- */

static void witness_done(request_t *request, result_t *result) {
  ais_witness_settle(&request->account->credential.witness,
                     ais_witness_is_good(result->response), ais_clock());
}

/* If the API refuses a request, possibly just for lack of a permission, this
 * counts as a refusal of that resource, until a path that was answered before
 * is refused as well. If that is not known, the witness requests such a
 * path. */
static void witness_hear(request_t *request, const char *path,
                         result_t *result) {
  account_t *account = request->account;
  credential_t *c = &account->credential;
  struct ais_choice next = request->choice;
  int64_t now = ais_clock();
  int64_t asked = now - result->response->elapsed;
  enum ais_doubt doubt;

  if (c->secret == NULL || request->is_witness)
    return;
  if (result->fault == AIS_FAULT_NONE)
    ais_witness_note(&c->witness, request->choice.version, path, asked);
  if (!result->verdict.doubtful)
    return;

  doubt = ais_witness_doubt(&c->witness, &c->rotation, &next,
                            /* others_too = */ true, path, asked,
                            account->target.timeout + 1000, now);
  if (doubt == AIS_DOUBT_NONE)
    return;

  result->fault = result->verdict.fault = AIS_FAULT_REFUSED;
  result->code = 10000;
  ais_error_set(&result->why,
                "the API rejects this request but accepts others; check the "
                "permissions of the credential");
  if (doubt == AIS_DOUBT_ASK) {
    c->ask = (request_t){.account = account,
                         .resource = {.kind = AIS_LIST},
                         .done = witness_done,
                         .is_witness = true,
                         .choice = next};
    request_send(&c->ask);
  }
}

/* ---- sending ------------------------------------------------------------- */

static void make_path(const request_t *request, struct ais_resource *resource,
                      char path[AIS_RESOURCE_PATH_MAX]) {
  const account_t *account = request->account;

  *resource = request->resource;
  if (request->is_namespaced)
    (void)ais_resource_to_namespaced(resource);
  if (request->is_witness)
    sstrncpy(path, account->credential.witness.path, AIS_RESOURCE_PATH_MAX);
  else
    ais_resource_path(resource, ais_str_of(account->account_id), path);
}

/* If the budget allowed no call, because other requests' retries have spent it,
 * the request keeps its turn. If it allowed no retry, an earlier call of this
 * request has failed. */
static void request_over(void *data, const struct ais_response *response) {
  request_t *request = data;
  account_t *payer = request->account->payer;
  result_t result = {.response = response,
                     .put_off = response->fault == AIS_FAULT_BUDGET &&
                                response->calls == 0};
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];

  result.closed =
      budget_settle(&payer->budget, response, &result.spent, ais_clock());
  request->under_way = false;
  payer->under_way--;
  if (response->status != 0 || payer->room == ROOM_AT_FIRST)
    payer->room = response->multiplexed ? MAX_STREAMS : MAX_CONNECTIONS;

  make_path(request, &resource, path);
  judge(&result, &resource);
  breaker_settle(request, &result);
  witness_hear(request, path, &result);
  if (!result.put_off && !request->is_witness)
    result.put_off = is_form_tried(request, &result);
  if (!result.put_off)
    credential_settle(request, &result);
  count(request, &result);
  DEBUG("aisearch plugin: %s: %s", path, ais_fault_name(result.fault));
  request->done(request, &result);
  ais_answer_free(&result.answer);
}

/* Returns AIS_FAULT_NONE if the request was sent, otherwise its result. */
static struct ais_response request_begin(request_t *request) {
  account_t *account = request->account;
  const credential_t *c = &account->credential;
  struct ais_resource resource;
  char path[AIS_RESOURCE_PATH_MAX];
  struct ais_fetch *fetch;

  if (ais_breaker_enter(&account->breaker, &request->pass,
                        account->target.timeout, ais_clock()) != 0)
    return ais_response_none(AIS_FAULT_BUDGET, "the API does not respond");
  if (!request->is_witness && !credential_choose(request))
    return ais_response_none(AIS_FAULT_CREDENTIAL,
                             c->secret == NULL
                                 ? "the credential cannot be read"
                                 : "the API rejects the credential");

  request->is_namespaced =
      !request->is_witness && (account->form.namespaced || request->is_trial);
  make_path(request, &resource, path);
  DEBUG("aisearch plugin: %s: GET %s", account->name, path);
  fetch =
      ais_client_fetch(account->client, &account->ways[request->part].target,
                       c->secret, path, request_over, request);
  if (fetch == NULL)
    return ais_response_none(AIS_FAULT_INTERNAL, "out of memory");
  if (request->pass.quick && account->probe_pause < PROBE_PAUSE_MAX)
    ais_fetch_limit(fetch, AIS_BREAKER_QUICK);
  return ais_response_none(AIS_FAULT_NONE, "");
}

void request_send(request_t *request) {
  account_t *account = request->account;
  account_t *payer = account->payer;
  struct ais_response response;

  request->under_way = true;
  account->asked++;
  payer->under_way++;
  budget_begin(&payer->budget);

  response = request_begin(request);
  if (response.fault != AIS_FAULT_NONE)
    request_over(request, &response);
}

int64_t request_wait(account_t *payer, budget_part_t part) {
  return payer->under_way < payer->room
             ? budget_wait(&payer->budget, part, ais_clock())
             : AIS_NEVER;
}

/* ---- logging ------------------------------------------------------------- */

void request_complain_more(account_t *account, int64_t interval) {
  int64_t now = ais_clock();

  if (now - account->logged_at < interval)
    return;
  if (account->logged > COMPLAINTS_MAX)
    account_log(account, LOG_ERR, ": %zu more cannot be read.",
                account->logged - COMPLAINTS_MAX);
  account->logged_at = now;
  account->logged = 0;
}

static void complain(account_t *account, const char *label,
                     const result_t *result) {
  char status[40], closed[64] = "", span[SPAN_SIZE], url[1100] = "";

  ssnprintf(status, sizeof(status), "the API returns %d",
            result->response->status);
  if (result->closed > 0)
    ssnprintf(closed, sizeof(closed), "; no calls for the next %s",
              conditions_span(span, result->closed));
  if (result->verdict.no_route)
    ssnprintf(url, sizeof(url),
              "; check the AccountID, and whether \"%s\" is the URL of the API",
              account->target.url.base);
  account_log(account, LOG_ERR, "%s: cannot be read: %s: %s%s%s", label,
              result_is_no(result) ? status : ais_fault_name(result->fault),
              result->why.text, closed, url);
}

/* A retry that the budget refused adds nothing to an error that was logged
 * before, and problems with the credential are logged elsewhere. */
void request_complain(account_t *account, trouble_t *trouble, const char *label,
                      const result_t *result) {
  int kind = result->good           ? 0
             : result_is_no(result) ? result->response->status
                                    : (int)result->fault;

  if ((result->fault == AIS_FAULT_BUDGET && trouble->kind != 0) ||
      (result->fault == AIS_FAULT_CREDENTIAL &&
       account->credential.file != NULL) ||
      kind == trouble->kind)
    return;

  trouble->kind = kind;
  if (kind == 0 && trouble->is_logged)
    account_log(account, LOG_INFO, "%s: can be read again.", label);
  if (kind == 0)
    return;

  trouble->is_logged = account->logged++ < COMPLAINTS_MAX;
  if (trouble->is_logged)
    complain(account, label, result);
}
