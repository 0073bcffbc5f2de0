"""Access from outside and to the outside: the edge authorizer, and the configurations of the proxies before and behind.

    browser ─▶ proxy (Envoy, nginx) ─▶ upstream of the tenant's region      edge/      who may pass, and where to
                 │ ▲                                                        proxies/   what the proxies are told
                 ▼ │ asks for each request
              edge authorizer ─▶ session, tenant context, membership

    service ─▶ egress proxy (Envoy) ─▶ the names that this service may reach, at public addresses

What services may do among themselves (tokens, the allow-list) is in `tenantry_client`.
"""
