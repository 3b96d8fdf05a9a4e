// Conditional GETs: an unchanged answer is neither sent nor parsed again.

const known = new Map(); // by URL: { etag, body }

export class Lost extends Error {} // nginx does not answer

/** Reads the headers of an answer from nginx. isFree: it cost no API call. */
function read(response) {
    const cache = response.headers.get('X-Aisearch-Cache') ?? '';
    const maxAge = /max-age=(\d+)/.exec(response.headers.get('Cache-Control') ?? '');
    const age = Number(response.headers.get('Age') ?? 0) * 1000;
    return {
        status: response.status,
        ok: response.ok || response.status === 304,
        cache,
        answered: Date.now() - age,                              // when the API did
        fresh: Math.max(0, (maxAge ? maxAge[1] * 1000 : 0) - age), // for so many ms
        retry: Number(response.headers.get('Retry-After')) * 1000 || 0,
        isFree: cache === 'HIT' || cache === 'COALESCED',
        isOld: cache === 'STALE',
    };
}

function fault(body, status) {
    const message = body?.errors?.[0]?.message;
    return message ? `${message} (${status})` : `status ${status}`;
}

export async function get(url, signal, timeout = 20_000) {
    const before = known.get(url);
    const headers = { Accept: 'application/json' };
    if (before?.etag)
        headers['If-None-Match'] = before.etag;
    let response, body;
    try {
        const signals = [AbortSignal.timeout(timeout), ...signal ? [signal] : []];
        response = await fetch(url, { headers, cache: 'no-store', redirect: 'error', signal: AbortSignal.any(signals) });
        body = response.status === 304 ? null : await response.text();
    } catch (error) {
        throw new Lost(error.message);
    }
    const answer = read(response);
    if (response.status === 304)
        return { ...answer, body: before.body, isSame: true };
    try {
        answer.body = JSON.parse(body);
    } catch {
        answer.body = null;
        answer.ok = false;
    }
    if (answer.ok)
        known.set(url, { etag: response.headers.get('ETag'), body: answer.body });
    else
        answer.fault = fault(answer.body, response.status);
    return answer;
}
