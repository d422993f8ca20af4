package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// metricsGroup is the API of custom metrics, which the pod autoscaler asks.
const metricsGroup = "custom.metrics.k8s.io"

// probePort is where pods show their metrics, by the chart's default.
const probePort = "9091"

// metricsAPI is the smallest adapter of custom metrics that a pod autoscaler can work with: whatever metric of pods it is asked for, it
// reads from the pods themselves, at the port of their probe, and sums up over its labels.
type metricsAPI struct {
	client kubernetes.Interface
	// metric is the one that discovery names.
	metric string
}

func (m *metricsAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const version = metricsGroup + "/v1beta2"
	var answer any
	var err error
	switch path := strings.Split(strings.Trim(r.URL.Path, "/"), "/"); {
	case len(path) == 3: // apis/GROUP/VERSION
		answer = metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: version,
			APIResources: []metav1.APIResource{{Name: "pods/" + m.metric, Namespaced: true, Kind: "MetricValueList", Verbs: []string{"get"}}},
		}
	case len(path) == 8 && path[3] == "namespaces" && path[5] == "pods": // …/namespaces/NAMESPACE/pods/*/METRIC
		answer, err = m.values(r.Context(), path[4], r.URL.Query().Get("labelSelector"), path[7])
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // to whoever still waits for it
}

// values are a metric's of the pods that are there.
func (m *metricsAPI) values(ctx context.Context, namespace, selector, metric string) (any, error) {
	pods, err := m.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	items := []any{}
	for _, pod := range pods.Items {
		value, err := scrape(ctx, pod, metric)
		if err != nil {
			continue // as a scraper, which has no value of a pod that does not answer
		}
		items = append(items, map[string]any{
			"describedObject": map[string]any{"kind": "Pod", "namespace": namespace, "name": pod.Name, "apiVersion": "/v1"},
			"metric":          map[string]any{"name": metric}, "timestamp": time.Now().UTC().Format(time.RFC3339), "value": strconv.Itoa(int(value)),
		})
	}
	return map[string]any{"kind": "MetricValueList", "apiVersion": metricsGroup + "/v1beta2", "metadata": map[string]any{}, "items": items}, nil
}

// scrape reads a metric of a pod, summed up over its labels. It is an error if there is none of that name.
func scrape(ctx context.Context, pod corev1.Pod, metric string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(pod.Status.PodIP, probePort)+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	return sumOf(response.Body, metric)
}

// sumOf sums a metric up, in Prometheus' text format.
func sumOf(text io.Reader, metric string) (float64, error) {
	sum, found := 0.0, false
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), " ")
		if labelled, _, ok := strings.Cut(name, "{"); ok {
			name, rest = labelled, lines.Text()[strings.LastIndex(lines.Text(), "}")+1:]
		}
		if name != metric {
			continue
		}
		value, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("there is no metric %s", metric)
	}
	return sum, lines.Err()
}
