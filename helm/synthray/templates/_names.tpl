{{/* The beginning of every name: the release's, with the chart's where that says more; at most 40 characters. */}}
{{- define "synthray.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "synthray.operator" -}}
{{ include "synthray.fullname" . }}-operator
{{- end }}

{{/* Names of what is not in a namespace: two releases in one cluster must not share them. */}}
{{- define "synthray.clusterName" -}}
{{- if eq .Release.Namespace "synthray-system" -}}
{{ include "synthray.fullname" . }}
{{- else -}}
{{ printf "%s-%s" .Release.Namespace (include "synthray.fullname" .) }}
{{- end -}}
{{- end }}

{{- define "synthray.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "synthray.operator" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* What the operator's pods are selected by. The NetworkPolicies of runs know the first of them. */}}
{{- define "synthray.selector" -}}
app.kubernetes.io/name: synthray-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "synthray.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: synthray
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "synthray.operatorLabels" -}}
{{ include "synthray.selector" . }}
{{ include "synthray.labels" . }}
{{- end }}

{{/* An image's reference: (dict "image" .Values.image "root" $) */}}
{{- define "synthray.image" -}}
{{- $registry := default .image.registry .root.Values.global.imageRegistry -}}
{{- $name := ternary (printf "%s/%s" $registry .image.repository) .image.repository (ne $registry "") -}}
{{- if .image.digest -}}
{{ printf "%s@%s" $name .image.digest }}
{{- else -}}
{{ printf "%s:%s" $name (default .root.Chart.AppVersion .image.tag) }}
{{- end -}}
{{- end }}

{{/* Names of the Secrets for an image's registry, as a JSON list. */}}
{{- define "synthray.pullSecretNames" -}}
{{ concat .root.Values.global.imagePullSecrets .image.pullSecrets | uniq | toJson }}
{{- end }}

{{- define "synthray.imagePullSecrets" -}}
{{- $names := include "synthray.pullSecretNames" . | fromJsonArray }}
{{- if $names }}
imagePullSecrets:
{{- range $names }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Everything runs restricted: no root, no capabilities, a read-only root file system. */}}
{{- define "synthray.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "synthray.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
