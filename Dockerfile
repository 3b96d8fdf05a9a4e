# nginx with the module; serves lookups on port 8080. See docs/container.md.

ARG DEBIAN=trixie-slim

FROM debian:$DEBIAN AS build
WORKDIR /build/src
COPY debian/control debian/
RUN apt-get update && apt-get build-dep -y --no-install-recommends -P nocheck ./
COPY . .
RUN DEB_BUILD_OPTIONS=nocheck DEB_BUILD_PROFILES=nocheck dpkg-buildpackage -b -us -uc

FROM debian:$DEBIAN
RUN --mount=type=bind,from=build,source=/build,target=/build \
    apt-get update && \
    apt-get install -y --no-install-recommends curl nginx /build/libnginx-mod-http-aisearch_*.deb && \
    rm -rf /var/lib/apt/lists/*
COPY config/nginx-container.conf /etc/nginx/nginx.conf

# www-data, by number: Kubernetes cannot verify that a named user is not root.
USER 33:33
EXPOSE 8080 8081
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=10s --timeout=3s CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8081/aisearch_status"]
CMD ["nginx", "-e", "stderr"]
