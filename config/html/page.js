// The page: requests the status every 5 s, and the lists of the instances in view.

import * as accounts from './accounts.js';
import { get, Lost } from './api.js';
import { JobView } from './job.js';
import { Row } from './rows.js';
import { Schedule } from './schedule.js';
import { count, duration, local, make, number, utc } from './text.js';

const STATUS_URL = document.querySelector('meta[name="aisearch-status"]').content;
const STATUS_EACH = 5000;
const LISTING_EACH = 300_000;
const PER_PAGE = 100;
const IN_USE = 5000;          // ms without reordering after the list was used

const $ = (id) => document.getElementById(id);

const rows = new Map();       // by account and name
const listings = new Map();   // by account: the task that asks for the list of instances
const schedule = new Schedule();

let told = null;              // the last status
let heard = 0;                // when it came
let lost = 0;                 // since when nginx does not answer; 0: it does
let lostBecause = '';
let leaving = new AbortController(); // aborted when the page is hidden
let timer = 0;
let touched = 0;              // when the list was last used

const view = new JobView($('job'), schedule);
const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries)
        target.row.isInView = isIntersecting;
});

// ---- the status

async function tick() {
    clearTimeout(timer);
    const signal = leaving.signal;
    timer = setTimeout(tick, STATUS_EACH);
    try {
        const answer = await get(STATUS_URL, signal, STATUS_EACH - 500);
        if (!answer.ok)
            throw new Lost(`${STATUS_URL}: ${answer.fault}`);
        onStatus(answer.body);
    } catch (error) {
        if (!(error instanceof Lost))
            throw error;
        if (signal.aborted)
            return;
        lost ||= Date.now();
        lostBecause = error.message.startsWith(STATUS_URL) ? error.message : '';
    }
    show();
}

function onStatus(body) {
    told = body;
    heard = Date.now();
    lost = 0;
    accounts.show($('accounts'), told.accounts);
    const wanted = new Set();
    for (const [name, account] of Object.entries(told.accounts)) {
        if (account.instances && account.locations.length) {
            for (const instance of account.instances)
                wanted.add(row(name, account.locations[0], ...parts(instance)));
        }
        if (!account.instances && account.locations.length) {
            listing(name, account.locations[0]);
            for (const one of listings.get(name).rows)
                wanted.add(one);
        }
    }
    for (const [key, one] of rows) {
        if (!wanted.has(one)) {
            seen.unobserve(one.element);
            one.element.remove();
            rows.delete(key);
        }
    }
    sort();
}

function parts(instance) {
    const slash = instance.indexOf('/');
    return slash < 0 ? ['', instance] : [instance.slice(0, slash), instance.slice(slash + 1)];
}

// ---- instances

function row(account, location, namespace, name) {
    const key = [account, location, namespace, name].join(' ');
    if (!rows.has(key))
        rows.set(key, new Row(account, location, namespace, name, (one, job) => view.open(one, job), () => leaving.signal));
    return rows.get(key);
}

/** For an account without an instance list: gets the names from the API. */
function listing(account, location) {
    if (listings.has(account))
        return;
    const task = { due: 0, page: 1, found: [], rows: [], fault: '' };
    task.run = async () => {
        const answer = await get(`${location}instances?page=${task.page}&per_page=${PER_PAGE}`, leaving.signal)
            .catch(() => null);
        task.due = Date.now() + (answer ? 15_000 : 1000);
        if (!answer?.ok) {
            task.fault = answer?.fault ?? '';
            return Boolean(answer);
        }
        task.fault = '';
        const result = Array.isArray(answer.body.result) ? answer.body.result : [];
        for (const instance of result) {
            const one = row(account, location, instance.namespace ?? '', instance.id);
            one.told = instance;
            one.show();
            task.found.push(one);
        }
        const isLast = result.length < PER_PAGE;
        task.rows = isLast ? task.found : [...new Set([...task.rows, ...task.found])];
        task.found = isLast ? [] : task.found;
        task.page = isLast ? 1 : task.page + 1;
        task.due = isLast ? Date.now() + LISTING_EACH : 0;
        sort();
        return !answer.isFree;
    };
    listings.set(account, task);
}

/** Sorts by trouble and name, unless the list is in use. */
function sort() {
    const list = $('instances');
    if (Date.now() - touched < IN_USE && list.childElementCount >= rows.size)
        return;
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    const now = Date.now();
    const ranks = new Map([...rows.values()].map((one) => [one, one.rank(now)]));
    const order = [...ranks.keys()].sort((a, b) => ranks.get(a) - ranks.get(b)
        || (a.account + a.name < b.account + b.name ? -1 : 1));
    let next = list.firstElementChild;
    for (const { element } of order) {
        if (element === next) {
            next = next.nextElementSibling;
        } else {
            const isNew = !element.isConnected;
            list.insertBefore(element, next);
            if (isNew)
                seen.observe(element);
        }
    }
    if (focused?.isConnected && focused !== document.activeElement)
        focused.focus({ preventScroll: true });
    filter();
}

/** A screen reader announces every write to a live region, even of the same text. */
function write(place, text) {
    if (place.textContent !== text)
        place.textContent = text;
}

function filter() {
    const words = $('filter').value.toLowerCase().split(/\s+/);
    let shown = 0;
    let unasked = 0;
    for (const one of rows.values()) {
        const isShown = words.every((word) => one.text.includes(word));
        if (one.element.hidden === isShown)
            one.element.hidden = !isShown;
        shown += isShown;
        unasked += !one.isAskedFor;
    }
    write($('shown'), `${number(shown)} of ${count(rows.size, 'instance')}`);
    write($('unasked'), unasked ? `${number(unasked)} not requested yet: scroll to load them` : '');
}

/** Starts the requests that are due, for each account whose budget allows it. */
function ask() {
    if (document.hidden || !told || lost)
        return;
    const isOpen = (name) => name in told.accounts && accounts.mayAsk(told.accounts[name]);
    const lists = [...listings].filter(([name]) => isOpen(name) && !told.accounts[name].instances).map(([, task]) => task);
    const shown = [...rows.values()].filter((one) => one.isInView && isOpen(one.account));
    schedule.begin([...lists, ...shown.flatMap((one) => one.tasks)]);
}

// ---- what is wrong

function alerts() {
    if (lost)
        return [`nginx has not answered since ${local(lost)}${lostBecause && ` (${lostBecause})`}. The page shows the state of that time.`];
    const found = Object.entries(told?.accounts ?? {}).flatMap(([name, account]) => accounts.alerts(name, account));
    for (const [name, { fault }] of listings)
        if (fault && told.accounts[name]?.instances === null)
            found.push(`Account ${name}: the list of its instances is not available: ${fault}.`);
    return found;
}

function show() {
    const texts = alerts();
    const place = $('alerts');
    if (texts.join('\n') !== [...place.children].map((one) => one.textContent).join('\n'))
        place.replaceChildren(...texts.map((text) => make('p', { className: 'alert' }, text)));
    document.body.classList.toggle('lost', lost !== 0);
    for (const one of rows.values())
        if (one.isInView)
            one.show();
    filter();
    showSecond();
}

/** Updated every second, and therefore not in a live region. */
function showSecond() {
    const place = $('nginx');
    if (told) {
        const loaded = told.loaded * 1000;
        place.textContent = `nginx answered ${duration(Date.now() - heard)} ago; configuration loaded ${local(loaded)}; `
            + `aisearch-jobs ${told.version}`;
        place.title = `configuration loaded ${utc(loaded)}`;
    } else if (lost) {
        place.textContent = `nginx has not answered for ${duration(Date.now() - lost)}`;
    }
    view.tick();
}

// ---- user input

$('filter').addEventListener('input', filter);
for (const type of ['pointermove', 'click', 'keydown', 'focusin'])
    $('instances').addEventListener(type, () => touched = Date.now());
$('instances').addEventListener('keydown', (event) => {
    const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key];
    let next = step && event.target.closest('.row')?.[step];
    while (next?.hidden)
        next = next[step];
    if (next) {
        next.row.button.focus();
        event.preventDefault();
    }
});

document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
        clearTimeout(timer);
        leaving.abort();
        view.pause();
    } else {
        leaving = new AbortController();
        view.resume();
        tick();
    }
});

setInterval(ask, 200);
setInterval(() => document.hidden || showSecond(), 1000);
tick();
