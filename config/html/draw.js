// Plots and timelines, as SVG.

import { SHAPES, took } from './jobs.js';
import { count, duration, local, make, number, utc } from './text.js';

const DAY = 86_400_000;

function svg(name, attributes, ...children) {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes))
        element.setAttribute(key, value);
    element.append(...children);
    return element;
}

const picture = (width, height, label, ...children) => svg('svg', {
    viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label }, ...children);

/** Amounts per minute over the last hour, for several kinds, from monotonic counters. */
export class Hour {
    #minutes = new Map(); // by number of the minute: amounts by kind
    #last = null;

    add(counters, now = Date.now()) {
        const minute = Math.floor(now / 60_000);
        const here = this.#minutes.get(minute) ?? {};
        for (const [kind, value] of Object.entries(counters)) {
            const before = this.#last?.[kind] ?? value;
            here[kind] = (here[kind] ?? 0) + (value >= before ? value - before : value); // less: nginx began anew
        }
        this.#last = counters;
        this.#minutes.set(minute, here);
        for (const old of this.#minutes.keys())
            if (old <= minute - 60)
                this.#minutes.delete(old);
    }

    /** Stacks the kinds from the bottom up. */
    draw(title, kinds, now = Date.now()) {
        const minute = Math.floor(now / 60_000);
        const at = (n) => this.#minutes.get(minute - 59 + n) ?? {};
        const sum = (n) => kinds.reduce((all, kind) => all + (at(n)[kind] ?? 0), 0);
        const most = Math.max(1, ...Array.from({ length: 60 }, (_, n) => sum(n)));
        const bars = [];
        for (let n = 0; n < 60; n++) {
            let y = 40;
            for (const [place, kind] of kinds.entries()) {
                const amount = at(n)[kind] ?? 0;
                const height = amount / most * 40;
                y -= height;
                if (amount)
                    bars.push(svg('rect', { x: n * 4, y, width: 3, height, class: `kind-${place}` },
                        svg('title', {}, `${local((minute - 59 + n) * 60_000)}: ${number(amount)} ${kind}`)));
            }
        }
        const total = (kind) => [...this.#minutes.values()].reduce((all, one) => all + (one[kind] ?? 0), 0);
        const words = kinds.map((kind) => `${number(total(kind))} ${kind}`);
        const legend = kinds.map((_, place) => make('li', {}, make('span', { className: `key kind-${place}` }), words[place]));
        return make('figure', {},
            make('figcaption', {}, `${title}, last hour`),
            picture(240, 40, `${title} in the last hour: ${words.join(', ')}; at most ${number(most)} a minute`, ...bars),
            make('ul', { className: 'legend' }, ...legend, make('li', {}, `at most ${number(most)} a minute`)));
    }
}

export function tooltip(job, now) {
    const lines = [`${SHAPES[job.state]} ${job.state}, by ${job.source}`];
    if (job.description)
        lines.push(job.description);
    if (!Number.isNaN(job.started))
        lines.push(`started ${local(job.started)} (${utc(job.started)})`);
    if (!Number.isNaN(job.ended))
        lines.push(`ended ${local(job.ended)} (${utc(job.ended)})`);
    if (took(job, now) >= 0)
        lines.push(`${job.state === 'running' ? 'for' : 'took'} ${duration(took(job, now))}`);
    if (job.end_reason)
        lines.push(`reason: ${job.end_reason}`);
    return lines.join('\n');
}

/** A bar for each job of the last 24 hours; queued jobs are at the end. */
export function timeline(jobs, open, now = Date.now()) {
    const x = (ms) => (1 - (now - ms) / DAY) * 1440;
    const bars = [];
    const tally = {};
    for (const job of jobs) {
        const from = Number.isNaN(job.started) ? now : job.started;
        const to = Number.isNaN(job.ended) ? now : job.ended;
        if (now - to > DAY)
            continue;
        tally[job.state] = (tally[job.state] ?? 0) + 1;
        const left = Math.min(Math.max(0, x(from)), 1428);
        const height = job.state === 'failed' ? 20 : job.state === 'queued' ? 8 : 14;
        const bar = svg('rect', { x: left, y: 20 - height, width: Math.max(12, x(to) - left), height, class: `bar ${job.state}` },
            svg('title', {}, tooltip(job, now)));
        bar.addEventListener('click', () => open(job));
        bars.push(bar);
    }
    const words = Object.entries(tally).map(([name, n]) => `${number(n)} ${name}`);
    const lines = [360, 720, 1080].map((at) => svg('line', { x1: at, x2: at, y1: 0, y2: 20, class: 'tick' }));
    const label = `The last 24 hours: ${count(bars.length, 'job')}${words.length ? ': ' + words.join(', ') : ''}`;
    return picture(1440, 20, label, ...lines, ...bars);
}
