"""The shading language of the renderer: one program for everything, materials told apart by number."""

SHADOW_VERTEX = """#version 330
uniform mat4 light; in vec3 p; in float k; in float g; out float gg;
void main() { gg = k > 14.5 || abs(k - 13.0) < 0.5 ? 1.0 : g; gl_Position = light * vec4(p, 1.0); }
"""

SHADOW_FRAGMENT = """#version 330
in float gg;
void main() { if (gg > 0.0) discard; }
"""

DEPTH_VERTEX = """#version 330
uniform mat4 view; in vec3 p; in float g; out float gg;
invariant gl_Position;
void main() { gg = g; gl_Position = view * vec4(p, 1.0); }
"""

DEPTH_FRAGMENT = """#version 330
in float gg; out vec4 result;
void main() { if (gg > 0.0) discard; result = vec4(0.0); }
"""

VERTEX = """#version 330
uniform mat4 view; uniform mat4 key_matrix; uniform mat4 top_matrix;
in vec3 p; in vec3 n; in vec3 c; in vec3 r; in float k; in float g;
out vec3 wp; out vec3 wn; out vec3 wc; out vec3 wr; out vec4 kp; out vec4 tp; out float wg; flat out float kk;
invariant gl_Position;
void main() {
    wp = p; wn = n; wc = c; wr = r; wg = g; kk = k;
    kp = key_matrix * vec4(p + n * 0.008, 1.0);
    tp = top_matrix * vec4(p + n * 0.012, 1.0);
    gl_Position = view * vec4(p, 1.0);
}
"""

#: What a fragment program is for; the driver runs every branch of a shader, so each knows only its own materials.
RUNNER, NEAR, STILL = 0, 1, 2

FRAGMENT = """#version 330
#define KIND WHICH
const int TAPS = 6;
uniform sampler2DShadow key_map; uniform sampler2DShadow top_map; uniform sampler3D noise_map;
uniform sampler3D field_map;
uniform vec3 eye; uniform vec3 key; uniform vec3 key_colour; uniform vec3 ambient;
uniform vec3 rim; uniform vec3 rim_colour;
uniform float belt; uniform float belt_period; uniform vec3 seed; uniform int style; uniform int cloth;
uniform float softness;
uniform float turn;
uniform vec3 band_colour; uniform vec3 stripe_colour; uniform vec3 sock_colour;
uniform float waist_y; uniform float band; uniform float stripe; uniform float sock_y; uniform float folds;
uniform vec4 print[2]; uniform vec3 print_colour[2]; uniform vec4 weave[2];
in vec3 wp; in vec3 wn; in vec3 wc; in vec3 wr; in vec4 kp; in vec4 tp; in float wg; flat in float kk;
out vec4 result;

float noise(vec3 p) { return texture(noise_map, p / 32.0).r; }
float fbm(vec3 p) { return texture(field_map, p / 32.0).a; }
float hash(vec3 p) { return fract(sin(dot(p, vec3(127.1, 311.7, 74.7))) * 43758.5453); }

float lit(sampler2DShadow map, vec4 at, float radius, float bias) {
    vec3 s = at.xyz / at.w * 0.5 + 0.5;
    if (s.x < 0.0 || s.x > 1.0 || s.y < 0.0 || s.y > 1.0) return 1.0;
    float sum = 0.0;
    float spin = (hash(vec3(gl_FragCoord.xy, 1.0)) + turn) * 6.2832;
    for (int i = 0; i < TAPS; i++) {
        float a = spin + float(i) * 2.39996, d = radius * sqrt((float(i) + 0.5) / float(TAPS));
        sum += texture(map, vec3(s.xy + d * vec2(cos(a), sin(a)), s.z - bias));
    }
    return sum / float(TAPS);
}

#if KIND == 0
float printed(vec4 kind, vec3 r) {
    float round = atan(r.x, r.z) * 0.13, c = cos(kind.w), s = sin(kind.w);
    vec2 u = vec2(round * c + r.y * s, r.y * c - round * s) * kind.y + seed.xy;
    if (kind.x < 1.5) return step(0.5, fract(u.y));
    if (kind.x < 2.5) return 0.5 * (step(0.5, fract(u.x)) + step(0.5, fract(u.y)));
    if (kind.x < 3.5) return step(length(fract(u) - 0.5), 0.3);
    if (kind.x < 4.5) return step(0.05 + 0.05 * fract(seed.z), abs(r.x));
    if (kind.x < 5.5) return smoothstep(-0.15, 0.25, r.y - waist_y);
    return step(0.5, hash(vec3(floor(u * 3.0), 1.0))) * step(abs(r.x), 0.09) * step(abs(fract(u.y * 0.2) - 0.5), 0.2);
}
#endif

void main() {
    vec3 N = normalize(wn + vec3(0.0, 1e-5, 0.0)), V = normalize(eye - wp), c = wc;
    int k = int(kk + 0.5);
    if (k < 10 && dot(N, V) < 0.0) N = -N;
    float shine = 0.04, gloss = 12.0, wrap = 0.0;
#if KIND == 0
    if (k == 1 || k == 2) {
        vec4 made = weave[k - 1];
        bool waistband = k == 1 && wr.y > waist_y - band;
        float size = (k == 2 ? 1.25 : 0.8) * folds * made.y * (waistband ? 0.15 : 1.0);
        vec3 q = wr * vec3(17.0, 8.0, 17.0) * made.x + seed * 7.0;
        vec3 slope = 1.7 * texture(field_map, q / 32.0).rgb;
        N = normalize(N - slope * size);
        if (waistband) {
            float rib = sin((wr.y - waist_y) * 2200.0);
            c = band_colour * (0.93 + 0.07 * rib);
            if (wr.y < waist_y - band + 0.004) c *= 0.55;
        } else if (k == 1 && stripe > 0.0 && abs(wr.z - 0.035) < stripe * 0.5 && abs(wr.x) > 0.125) {
            c = stripe_colour;
        } else if (k == 2) {
            float seam = abs(abs(wr.x) - 0.105);
            if (seam < 0.0025) c *= 0.72;
            c *= 0.97 + 0.06 * step(0.5, fract(wr.y * 260.0)) * step(0.5, fract((wr.x + wr.z) * 260.0));
        }
        if (!waistband && print[k - 1].x > 0.5)
            c = mix(c, print_colour[k - 1], print[k - 1].z * printed(print[k - 1], wr));
        if (cloth == 1) {
            vec3 u = wr * (k == 1 ? 34.0 : 22.0) + seed;
            float print = step(0.52, fbm(u)) * 0.45 + 0.18 * step(0.5, fract(u.x + u.y)) * step(0.5, fract(u.y * 1.7));
            c = mix(c, c.brg * 0.5 + 0.25 * fract(seed), waistband ? 0.15 : print);
            N = normalize(N + 0.8 * slope.zxy * size);
        }
        if (wg > -0.006) c *= 0.78;
        if (!gl_FrontFacing) c *= 0.4;
        c *= 0.92 + 0.16 * fbm(wr * 300.0);
        shine = (k == 1 ? 0.05 : 0.03) * made.z; gloss = 9.0 * sqrt(made.z); wrap = made.w;
    } else if (k == 0) {
        c *= 0.90 + 0.18 * fbm(wr * 25.0 + seed);
        if (wr.y < sock_y) c = sock_colour * (0.9 + 0.1 * sin(wr.y * 1500.0));
        shine = 0.10; gloss = 22.0; wrap = 0.18;
    } else if (k == 3) {
        c *= 0.55 + 0.95 * noise(wr * vec3(240.0, 25.0, 240.0)); shine = 0.16; gloss = 18.0;
    } else if (k == 4) {
        c *= 0.85 + 0.25 * fbm(wr * 140.0); shine = 0.06;
    } else if (k == 5) {
        c *= 0.92 + 0.12 * fbm(wr * 120.0);
    }
#endif
#if KIND == 1
    if (k == 11) {
        float along = mod(wp.z - belt, belt_period);
        c *= 0.75 + 0.5 * noise(vec3(wp.x * 160.0, along * 160.0, 0.0)) + 0.25 * noise(vec3(wp.x * 60.0, 0.0, 5.0));
        float edge = abs(abs(wp.x) - 0.235);
        if (edge < 0.006) c = vec3(0.45, 0.45, 0.42);
        if (along < 0.03) c = mix(c, vec3(0.35), 0.6);
        bool mark = abs(along - 1.3) < 0.09 && abs(wp.x) < 0.10;
        if (mark && fract((along - 1.3) * 16.0 + wp.x * 12.0) < 0.5) c = vec3(0.30, 0.31, 0.33);
        shine = 0.05; gloss = 30.0;
    } else if (k == 12) {
        vec2 tile = fract(wp.xz);
        c *= 0.8 + 0.35 * fbm(vec3(wp.xz * 60.0, 1.0) + seed);
        if (noise(vec3(wp.xz * 200.0, 3.0)) > 0.86) c += 0.10;
        if (min(tile.x, tile.y) < 0.006) c *= 0.6;
        shine = 0.08; gloss = 30.0;
    }
#endif
#if KIND == 2
    if (k == 13) {
        vec2 w = abs(N.z) > 0.5 ? wp.xy : wp.zy;
        if (style == 1) {
            vec2 u = w / vec2(0.24, 0.08); float row = floor(u.y); u.x += 0.5 * mod(row, 2.0); vec2 f = fract(u);
            c *= 0.75 + 0.4 * hash(vec3(floor(u), row));
            if (f.x < 0.045 || f.y < 0.13) c = vec3(0.5, 0.48, 0.45) * (0.6 + c.r);
            c *= 0.88 + 0.24 * fbm(vec3(w * 40.0, 2.0));
        } else if (style == 2) {
            vec2 u = w / vec2(0.9, 1.25); vec2 f = fract(u); c *= 0.85 + 0.25 * hash(vec3(floor(u), seed.y));
            if (f.x < 0.015 || f.y < 0.012) c *= 0.45;
        } else c *= 0.93 + 0.14 * fbm(vec3(w * 3.0, seed.x));
    } else if (k == 16) {
        vec3 m = reflect(-V, N);
        float t = 0.5 + 0.5 * m.y;
        c *= mix(vec3(0.10), vec3(0.9), smoothstep(0.35, 0.62, t)) * (0.6 + 0.8 * fbm(vec3(m.xy * 14.0, 3.0)));
        result = vec4(c, 1.0); return;
    } else if (k == 17) {
        vec2 u = wp.xy * 9.0; float d = length(fract(u * 0.31 + seed.xy) - 0.5);
        c = mix(c, c.zxy * 0.6 + 0.2, smoothstep(0.26, 0.24, d)); c *= 0.8 + 0.4 * step(0.5, fract(u.y * 0.5));
    }
#endif
#if KIND != 0
    if (k == 15) { result = vec4(c * (0.9 + 0.2 * fbm(wp * 2.0)), 1.0); return; }
    if (k == 14) { c *= 0.92 + 0.16 * fbm(wp * 12.0); shine = 0.25; gloss = 40.0; }
#endif
    float facing = dot(N, key);
    float direct = lit(key_map, kp, softness, 0.0012);
    float over = lit(top_map, tp, 0.035, 0.0016);
    float nl = max((facing + wrap) / (1.0 + wrap), 0.0);
    vec3 glow = k == 0 ? mix(vec3(1.0, 0.55, 0.42), vec3(1.0), smoothstep(0.0, 0.35, nl)) : vec3(1.0);
    float sky = 0.55 + 0.45 * N.y;
    vec3 hemi = ambient * (sky * (0.25 + 0.75 * over) + 0.22 * (1.0 - sky));
    vec3 H = normalize(key + V);
    vec3 side = rim_colour * max(dot(N, rim) * 0.6 + 0.4, 0.0) * (0.5 + 0.5 * over);
    vec3 light = hemi + key_colour * nl * direct * glow + side;
#if KIND == 0
    vec3 flat_light = (key_colour + ambient) * (0.55 + 0.45 * dot(N, V)) * (0.6 + 0.4 * over);
    if (cloth == 1) light = 0.55 * light + 0.42 * flat_light;
#endif
    float edge = pow(clamp(1.0 - dot(N, V), 1e-3, 1.0), 3.0);
    vec3 colour = c * light + shine * key_colour * pow(max(dot(N, H), 1e-3), gloss) * direct
        + (k < 10 ? 0.07 * ambient * edge * over : 0.10 * shine * ambient);
    result = vec4(clamp(colour, 0.0, 16.0), 1.0);
}
"""
