// Each account as aisearch_status reports it, with plots of the last hour, whose data the page keeps itself.

import { Hour } from './draw.js';
import { count, duration, facts, local, make, number, percent, utc } from './text.js';

const KINDS = {
    'from the cache': ['hit', 'coalesced', 'waited', 'updating', 'stream'],
    fetched: ['miss', 'expired', 'bypass'],
    'old answers': ['stale'],
    refused: ['refused'],
};

const accounts = new Map(); // by name: { element, lookups, calls }

/** Whether the budget allows requests for lists; the other half is for other clients. */
export const mayAsk = (told) => told.budget.share >= 0.5;

const sum = (counts, names) => names.reduce((all, name) => all + (counts[name] ?? 0), 0);

const windows = (list) => list.map(({ calls, window_milliseconds }) =>
    `${number(calls)} in ${duration(window_milliseconds)}`).join(', ');

function apiLimits(limits) {
    return limits.filter(({ left }) => left !== null).map(({ name, left, quota, reset_milliseconds }) =>
        `${name}: ${number(left)}${quota === null ? '' : ' of ' + number(quota)} left, reset in ${duration(reset_milliseconds)}`)
        .join('; ');
}

function hitRatio(lookups) {
    const all = sum(lookups, Object.values(KINDS).flat()) - lookups.refused;
    return all ? `${percent(sum(lookups, KINDS['from the cache']) / all)} of ${count(all, 'lookup')}` : 'no lookups yet';
}

function credential({ in_use, since, refused, slots }) {
    if (refused)
        return '✕ rejected by the API';
    const text = `${in_use} of ${slots.length}`;
    return since ? make('span', { title: utc(since * 1000) }, `${text}, since ${local(since * 1000)}`) : text;
}

function breaker({ state, fault, wait_milliseconds }) {
    if (state === 'closed')
        return '✓ closed: the API answers';
    return `✕ ${state}: ${fault}, next try in ${duration(wait_milliseconds)}`;
}

function faults(fetches) {
    const found = Object.entries(fetches).filter(([outcome, n]) => outcome !== 'ok' && n > 0);
    return found.map(([outcome, n]) => `${number(n)} ${outcome.replace('_', ' ')}`).join(', ') || 'none';
}

function describe(told) {
    const { budget } = told;
    return facts([
        ['Budget left', `${count(budget.left, 'call')}, ${percent(budget.share)}`],
        ['Limits', windows(budget.allowance)],
        ['API limits', apiLimits(budget.limits)],
        ['Hit ratio', hitRatio(told.lookups)],
        ['Credential in use', credential(told.credential)],
        ['Breaker', breaker(told.breaker)],
        ['Faults', faults(told.fetches)],
        ['Watchers', `${number(told.watchers)} (${count(told.watchers - told.waits, 'stream')}, ${count(told.waits, 'wait')})`],
    ]);
}

function create(name) {
    const title = make('h2', { id: `account-${name}` }, `Account ${name}`);
    const list = make('dl', { className: 'facts' });
    const plots = make('div', { className: 'plots' });
    const element = make('section', {}, title, list, plots);
    element.setAttribute('aria-labelledby', title.id);
    return { element, list, plots, lookups: new Hour(), calls: new Hour() };
}

/** Shows all accounts of the status, and no others. */
export function show(place, told) {
    for (const [name, account] of accounts) {
        if (!(name in told)) {
            account.element.remove();
            accounts.delete(name);
        }
    }
    for (const [name, one] of Object.entries(told)) {
        if (!accounts.has(name))
            accounts.set(name, create(name));
        const account = accounts.get(name);
        const kinds = Object.keys(KINDS);
        account.lookups.add(Object.fromEntries(kinds.map((kind) => [kind, sum(one.lookups, KINDS[kind])])));
        account.calls.add({ calls: one.calls });
        account.list.replaceChildren(...describe(one));
        account.plots.replaceChildren(account.lookups.draw('Lookups', kinds), account.calls.draw('API calls', ['calls']));
        if (!account.element.isConnected)
            place.append(account.element);
    }
}

/** The problems of an account; the texts do not change while a problem lasts. */
export function alerts(name, told) {
    const found = [];
    if (!told.locations.length)
        found.push('no location of this server uses it (aisearch_pass), so its instances cannot be shown');
    if (told.credential.refused)
        found.push('the API rejects the credential');
    if (told.breaker.state !== 'closed')
        found.push(`the API fails (${told.breaker.fault}): the data shown may be old`);
    if (told.budget.closed_milliseconds > 0)
        found.push('the API accepts no calls for now: its rate limit has been reached');
    else if (!mayAsk(told))
        found.push('less than half of the budget is left: lists are not refreshed until there is more');
    return found.map((text) => `Account ${name}: ${text}.`);
}

